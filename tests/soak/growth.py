"""Whether something grows with the number of releases. Pure.

A run begins by filling what is bounded: the versions that can be rolled back to, caches, pools. So the samples of the
first releases are left out. Of the others the median of all pairwise slopes counts (Theil, 1950; Sen, 1968): a burst or
a version that is just starting makes no slope, and a leak makes one whatever else happens.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SETTLED = 14
"""Releases until everything bounded is full: the versions that stay for a rollback, and a few more."""
ENOUGH = 8
"""Further releases that tell a slope from chance."""
LIMITS: Mapping[str, float] = {
    "processes": 0.05,
    "rss_mb": 0.5,
    "consumers": 0.1,
    "descriptors": 0.5,
    "files": 0.5,
    "records": 0.1,
    "log_lines": 0.5,
}
"""What each may grow by a release. Two hundred releases would be, say, 10 processes: a leak of one each makes 200."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at one time.

    Attributes:
        at: seconds since the run began.
        releases: how many were over by then.
        values: by name; log lines are those of the last minute.
    """

    at: float
    releases: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """How one value grew.

    Attributes:
        name: of the value.
        first, last: medians of the first and the last quarter of the samples that count.
        slope: what a release adds.
        limit: what it may add.
    """

    name: str
    first: float
    last: float
    slope: float
    limit: float

    @property
    def flat(self) -> bool:
        """Whether it does not grow."""
        return self.slope <= self.limit


def growth(samples: Sequence[Sample], limits: Mapping[str, float] = LIMITS) -> list[Growth]:
    """Return how each value grew after the first releases; nothing if there were too few releases to tell."""
    counted = [one for one in samples if one.releases >= SETTLED]
    if not counted or counted[-1].releases < SETTLED + ENOUGH:
        return []
    quarter = max(1, len(counted) // 4)
    found = []
    for name, limit in limits.items():
        values = [one.values[name] for one in counted]
        slope = _slope([(one.releases, one.values[name]) for one in counted])
        found.append(
            Growth(name, statistics.median(values[:quarter]), statistics.median(values[-quarter:]), slope, limit)
        )
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between any two points. Of each release the median counts."""
    by_x: dict[float, list[float]] = {}
    for x, y in points:
        by_x.setdefault(x, []).append(y)
    medians = [(x, statistics.median(ys)) for x, ys in sorted(by_x.items())]
    slopes = [(y2 - y1) / (x2 - x1) for n, (x1, y1) in enumerate(medians) for x2, y2 in medians[n + 1 :]]
    return statistics.median(slopes) if slopes else 0.0


def table(found: Sequence[Growth]) -> str:
    """Return it for people."""
    rows = [f"{'':12} {'first':>9} {'last':>9} {'a release':>10} {'at most':>8}"]
    rows += [
        f"{one.name:12} {one.first:9.1f} {one.last:9.1f} {one.slope:+10.2f} {one.limit:8.2f}"
        f"{'' if one.flat else '  GROWS'}"
        for one in found
    ]
    return "\n".join(rows)
