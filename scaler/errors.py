"""The errors of the scaler, each with a remedy.

ScalerError
├── LaunchFailed    workers of a version cannot be started
├── Fenced          a newer leader has given commands
└── BadTrace        an arrival trace cannot be read
"""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class ScalerError(HeadwayError):
    """Base of the scaler's errors."""

    code = "scaler"


class LaunchFailed(ScalerError):
    """Workers of a version cannot be started."""

    code = "launch_failed"
    default_remedy = "see its output; `headway worker` runs one by hand"


class Fenced(ScalerError):
    """A newer leader has given commands, so older ones are refused."""

    code = "fenced"
    status = 409
    default_remedy = "nothing to do: the other scaler acts"


class BadTrace(ScalerError):
    """An arrival trace cannot be read."""

    code = "bad_trace"
    status = 400
    default_remedy = "give CSV lines `second,arrivals` or JSON lines with these fields"
