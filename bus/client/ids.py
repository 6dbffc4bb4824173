"""Unique ids of messages, workers and errors."""

from __future__ import annotations

import os

from nats.nuid import NUID

_nuid = NUID()


def unique_id() -> str:
    """Return a fresh id of 22 letters and digits."""
    return str(_nuid.next().decode())


def _reseed() -> None:
    """Start a new sequence in a forked process: with the parent's, both would issue the same ids."""
    global _nuid  # noqa: PLW0603  # the module's only state
    _nuid = NUID()


os.register_at_fork(after_in_child=_reseed)
