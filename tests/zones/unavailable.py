"""What cannot be done on this machine."""

from __future__ import annotations


class Unavailable(Exception):
    """The machine has no such thing, or does not allow it. The message says why."""
