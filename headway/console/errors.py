"""Errors of an operator's request in the console."""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class NotAllDone(HeadwayError):
    """A part of an operator's request failed; the rest was done."""

    code = "not_all_done"
    status = 409
