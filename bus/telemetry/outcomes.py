"""How requests ended, by operation and by tenant: a few numbers each, for a bounded number of names."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

from headway.bus.telemetry.histogram import BUCKETS

NAMES: Final = 32
"""Names that a worker counts; those that it meets later are counted together as `OTHERS`."""
OTHERS: Final = ""


class Outcome(NamedTuple):
    """What became of the requests of one name since the worker's start.

    Attributes:
        tries: calls, jobs and events that ended.
        errors: those that failed; what was the caller's own mistake is none of them.
        latency: counts by index of the bucket, those that are not 0.
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
            name: of its operation, or its tenant.
            seconds: that it took.
            failed: whether it was a failure of the handler's.
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
