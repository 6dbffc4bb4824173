"""Errors of what an operator requests in the console."""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class NotAllDone(HeadwayError):
    """Some of the things that an operator requested could not be done; the others were."""

    code = "not_all_done"
    status = 409
