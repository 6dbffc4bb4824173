"""The retry policy: how often failed work is retried, and with which delays."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from headway.bus.errors import DeclarationError

MAX_DELAY = 12 * 3600.0
"""Longest back-off in seconds. Records of attempts are kept for a day (bus/nats/streams.py), so it stays well below."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry policy of a job or event handler.

    Args:
        attempts: maximum number of runs, including the first.
        backoff: seconds to wait after the first, second, ... failure; the last one repeats.
        jitter: share by which each wait is randomly shortened or lengthened, so that work that failed together
            is not retried together.

    Raises:
        DeclarationError: if a number is out of range.
    """

    attempts: int = 5
    backoff: tuple[float, ...] = (1, 5, 30, 120)
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DeclarationError(f"attempts={self.attempts}", remedy="set attempts to at least 1")
        if self.attempts > 1 and not self.backoff:
            raise DeclarationError("backoff is empty", remedy="give at least one wait in seconds; 0 retries at once")
        if any(not 0 <= seconds <= MAX_DELAY for seconds in self.backoff):
            raise DeclarationError(f"backoff={self.backoff}", remedy=f"use waits of 0 to {MAX_DELAY:.0f} seconds")
        if not 0 <= self.jitter < 1:
            raise DeclarationError(f"jitter={self.jitter}", remedy="use a jitter of at least 0 and below 1")

    def exhausted(self, failed: int) -> bool:
        """Return whether work that has failed this often has no attempts left."""
        return failed >= self.attempts

    def delay(self, failed: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Return the seconds to wait after the `failed`th failure (1 is the first)."""
        base = self.backoff[min(failed, len(self.backoff)) - 1]
        return base * uniform(1 - self.jitter, 1 + self.jitter)
