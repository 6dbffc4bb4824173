"""How often failed work is tried again, and how long to wait in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from headway.bus.errors import DeclarationError

MAX_DELAY = 12 * 3600.0
"""Longest back-off in seconds: attempts are remembered for a day (bus/nats/streams.py), a wait must fit in well."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry policy of a job or event handler.

    Args:
        attempts: how often the work is run at most, the first time included.
        backoff: seconds to wait after the first, second, ... failure; the last one repeats.
        jitter: share of a wait by which it is randomly shortened or lengthened, so that work which failed
            together does not come back together.

    Raises:
        DeclarationError: if a number makes no sense.
    """

    attempts: int = 5
    backoff: tuple[float, ...] = (1, 5, 30, 120)
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DeclarationError(f"attempts={self.attempts}", remedy="run work at least once")
        if self.attempts > 1 and not self.backoff:
            raise DeclarationError("backoff is empty", remedy="name at least one wait in seconds, 0 for none")
        if any(not 0 <= seconds <= MAX_DELAY for seconds in self.backoff):
            raise DeclarationError(f"backoff={self.backoff}", remedy=f"waits are 0 to {MAX_DELAY:.0f} seconds")
        if not 0 <= self.jitter < 1:
            raise DeclarationError(f"jitter={self.jitter}", remedy="jitter is a share from 0 to below 1")

    def exhausted(self, failed: int) -> bool:
        """Whether work that has failed this often is not run again."""
        return failed >= self.attempts

    def delay(self, failed: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds to wait after the `failed`th failure (1 is the first)."""
        base = self.backoff[min(failed, len(self.backoff)) - 1]
        return base * uniform(1 - self.jitter, 1 + self.jitter)
