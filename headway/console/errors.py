"""What can go wrong with what an operator asks of the console, beside the errors of what it does."""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class NotAllDone(HeadwayError):
    """Of several things that an operator wanted, some could not be done; the others are."""

    code = "not_all_done"
    status = 409
