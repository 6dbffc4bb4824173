"""Counts of request outcomes by operation and by tenant, for a bounded number of names."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

from headway.bus.telemetry.histogram import BUCKETS

NAMES: Final = 32
"""Maximum number of names that a worker counts separately; all further names are counted as `OTHERS`."""
OTHERS: Final = ""


class Outcome(NamedTuple):
    """Outcomes of the requests of one name since the worker's start.

    Attributes:
        tries: calls, jobs and events that ended.
        errors: those that failed, without mistakes of the caller.
        latency: counts by bucket index, without zeros.
    """

    tries: int
    errors: int
    latency: dict[int, int]


class Outcomes:
    """Counts by name."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def add(self, name: str, seconds: float, *, failed: bool) -> None:
        """Count a request that ended.

        Args:
            name: its operation or tenant.
            seconds: how long it took.
            failed: whether the handler failed.
        """
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= NAMES:
                name = OTHERS
            count = self._counts.setdefault(name, _Count())
        count.tries += 1
        count.errors += failed
        bucket = bisect_left(BUCKETS, seconds)
        count.latency[bucket] = count.latency.get(bucket, 0) + 1

    def told(self, *, latency: bool) -> dict[str, Outcome]:
        """Return all counts, with or without the latency."""
        return {
            name: Outcome(one.tries, one.errors, dict(one.latency) if latency else {})
            for name, one in self._counts.items()
        }


class _Count:
    __slots__ = ("errors", "latency", "tries")

    def __init__(self) -> None:
        self.tries = 0
        self.errors = 0
        self.latency: dict[int, int] = {}
