"""Evidence that the canary is not worse than a margin: the mirror image of `worse`. Pure.

"Worse than the margin" is: its odds of failing are at least `odds` times the baseline's, and its share of failures is
at least `points` higher. Each of the two can be rejected separately, and a mean of both is an e-process again.

- The odds: as in `worse`, the noncentral hypergeometric ratio of an equal canary to one at the margin. It says nothing
  where nobody fails.
- The points: the likelihood of an equal canary against the nearest pair of rates that are `points` apart, nearest in
  the sense of Kullback and Leibler. The set of such pairs is convex, so this ratio has at most mean 1 under all of
  them (Turner, Ly and Gruenwald 2024, theorem 1). It works where nobody fails: 600 requests without a failure show
  at 95% that fewer than half a percent fail.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, log, log1p
from typing import Any, Final, NamedTuple

from headway.deployer.analysis.urn import NOTHING, Stratum, log_moments, log_sum

_BETTER: Final = 0.75
_EQUAL_SHARE: Final = 0.8
"""Assumed odds of the canary: equal, or somewhat better."""
_POINTS_SHARE: Final = 0.8
"""Share of the evidence in points, where most services are: almost nothing fails."""
_FAILED, _TRIED = 0.03, 100.0
"""Prior counts."""


class MarginProof(NamedTuple):
    """The acceptable difference.

    Attributes:
        odds: the factor on the odds of failing, more than 1.
        points: the difference in the share of failures.
    """

    odds: float = 1.7
    points: float = 0.007

    def scaled(self, weight: float) -> MarginProof:
        """Return the margin for a version with this share of the traffic (0 to 1).

        The harm to all users counts: at a tenth of the traffic, ten times the difference does the same harm.
        """
        return MarginProof(1 + (self.odds - 1) / weight, min(0.5, self.points / weight))


class NotWorse:
    """Evidence that the canary is not worse than a margin.

    Args:
        margin: the margin.
    """

    __slots__ = ("_better", "_equal", "_limits", "_points", "_seen", "margin")

    def __init__(self, margin: MarginProof) -> None:
        self.margin = margin
        self._limits = (log(_BETTER), log(margin.odds))
        self._equal = self._better = self._points = 0.0
        self._seen = NOTHING

    def add(self, stratum: Stratum) -> None:
        """Add a stratum."""
        self._points += points_factor(stratum, self._expected(), self.margin.points)
        hits = stratum.hits
        if hits and stratum.canary and stratum.baseline and hits < stratum.total:
            better, limit = log_moments(stratum.canary, stratum.baseline, hits, self._limits)
            x = stratum.canary_hits
            self._equal += float(limit) - x * self._limits[1]
            self._better += float(limit - better) + x * (self._limits[0] - self._limits[1])
        self._seen += stratum

    @property
    def log(self) -> float:
        """Return the natural logarithm of the e-value."""
        odds = 1 - _POINTS_SHARE
        return log_sum(
            [
                log(_POINTS_SHARE) + self._points,
                log(odds * _EQUAL_SHARE) + self._equal,
                log(odds * (1 - _EQUAL_SHARE)) + self._better,
            ]
        )

    def needed(self, goal: float) -> float:
        """Return about how many more requests of the canary bring the evidence to `goal` if it is equal.

        Args:
            goal: logarithm of the e-value.
        """
        if self.log >= goal:
            return 0.0
        canary, baseline = max(1, self._seen.canary), self._seen.baseline
        share = self._expected()
        points = points_growth(share, self.margin.points, baseline / canary)
        odds = 0.5 * self._limits[1] ** 2 * share * (1 - share) * baseline / (canary + baseline)
        ways = (
            (log(_POINTS_SHARE) + self._points, points),
            (log((1 - _POINTS_SHARE) * _EQUAL_SHARE) + self._equal, odds),
        )
        return min((goal - now) / growth if growth > 0 else inf for now, growth in ways)

    def _expected(self) -> float:
        return (self._seen.hits + _FAILED) / (self._seen.total + _TRIED)

    def state(self) -> list[float]:
        """Return the state for a successor."""
        return [*(round(x, 3) for x in (self._points, self._equal, self._better)), *self._seen]

    def restore(self, state: Any) -> None:
        """Restore what `state` returned. Raises `ValueError` if it does not fit."""
        self._points, self._equal, self._better = map(float, state[:3])
        self._seen = Stratum(*map(int, state[3:7]))


def points_factor(stratum: Stratum, share: float, points: float) -> float:
    """Return the logarithm of a stratum's likelihood if both fail with `share`, over that of the nearest pair apart."""
    n, m = stratum.canary, stratum.baseline
    if not n:
        return 0.0
    base = nearest(share, points, m / n)
    up, down = log(share), log1p(-share)
    x, y = stratum.canary_hits, stratum.baseline_hits
    found = x * (up - log(base + points)) + (n - x) * (down - log1p(-base - points))
    return found + y * (up - log(base)) + (m - y) * (down - log1p(-base))


def points_growth(share: float, points: float, ratio: float) -> float:
    """Return the growth of the evidence per request of an equal canary, with `ratio` baseline requests for each."""
    base = nearest(share, points, ratio)
    return _divergence(share, base + points) + ratio * _divergence(share, base)


@lru_cache(maxsize=256)  # several series often have the same numbers
def nearest(share: float, points: float, ratio: float) -> float:
    """Return the baseline's rate in the pair `points` apart that is nearest to two equal rates.

    Args:
        share: the value of both rates.
        points: distance of the pair.
        ratio: requests of the baseline for each of the canary.
    """
    low, high = max(0.0, share - points), min(share, 1 - points)
    for _ in range(20):
        y = (low + high) / 2
        z = y + points
        slope = (share - z) / (z * (1 - z)) + ratio * (share - y) / (y * (1 - y))
        low, high = (y, high) if slope > 0 else (low, y)
    return max((low + high) / 2, 1e-9)


def _divergence(p: float, q: float) -> float:
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))
