"""Latency histograms that need one bisect per sample and can be added up across workers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BUCKETS: Final[tuple[float, ...]] = tuple(
    round(scale * step, 6) for scale in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0) for step in (1, 1.5, 2, 3, 5, 7)
)
"""Upper bounds in seconds, 0.1 ms to 700 s, each at most 1.67 times the one before; one more bucket takes the rest."""


class Histogram:
    """Counts per bucket since the start; `counts[i]` are the samples in (BUCKETS[i-1], BUCKETS[i]]."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def record(self, seconds: float) -> None:
        """Add one sample."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


def quantile(counts: Sequence[int], q: float) -> float | None:
    """Return the q-quantile (0 to 1) in seconds, interpolated linearly in its bucket; None without samples.

    Samples in the overflow bucket count as its lower bound, so the result is too small in that case.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = q * total
    seen = 0
    for i, count in enumerate(counts):
        if count and seen + count >= rank:
            lower = BUCKETS[i - 1] if i else 0.0
            upper = BUCKETS[i] if i < len(BUCKETS) else lower
            return lower + (upper - lower) * max(0.0, rank - seen) / count
        seen += count
    return BUCKETS[-1]
