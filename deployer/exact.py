"""An exact test of whether one of two sides fails more often, over strata, looked at more than once. Pure.

Within a stratum (a second, say) both sides had the same world around them. If they are equally good, the errors of a
stratum fall to the canary as if drawn from an urn: hypergeometrically, whatever the error rate was just then. The sum
over strata has the convolution of these distributions, so nothing is assumed of how the rate moves, and nothing is
approximated (but for thousands of errors, see `LARGE`).

Looking again and again finds something at last, also where there is nothing. So there are looks at certain sizes only,
each with its part of the error budget; together they spend what was given, however long it goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, gammaln, ndtr  # not scipy.stats: importing it takes more than a second

LARGE: Final = 2_000
"""Errors of both sides together above which the distribution is taken as normal."""
_SIZE: Final = 900
"""Requests of the smaller side at which most of the budget is spent: 5 points more errors are to show by 1,000."""
_SPENT: Final = {-4: 0.05, -3: 0.1, -2: 0.1, -1: 0.15, 0: 0.4}
"""Share of the budget at `_SIZE * 2**k` requests; later ones share the rest, each half of the one before."""


class Stratum(NamedTuple):
    """What both sides did at the same time: how many tries, and how many of them ended as counted."""

    canary: int
    canary_hits: int
    baseline: int
    baseline_hits: int


class Look(NamedTuple):
    """One look: at which sizes, what was found, and what was allowed."""

    canary: int
    baseline: int
    canary_hits: int
    baseline_hits: int
    p: float
    allowed: float


def spent(k: int) -> float:
    """The share of the budget that the look at `_SIZE * 2**k` requests may spend."""
    return _SPENT.get(k, 0.0) if k <= 0 else 0.2 * 0.5**k


def looks(sizes: Iterable[int], budget: float) -> Iterator[float]:
    """For each size of the smaller side, as it grows, the chance of a false alarm allowed there; 0 for no look."""
    k = min(_SPENT)
    for size in sizes:
        allowed = 0.0
        while size >= _SIZE * 2.0**k:
            allowed += spent(k) * budget
            k += 1
        yield allowed


def worse(strata: Iterable[Stratum], budget: float, tolerance: float = 0.0) -> Look | None:
    """The first look at which the canary is worse by more than chance; None if there is none.

    Args:
        strata: in the order of time.
        budget: the chance that an equal canary is found to be worse, over all looks together.
        tolerance: how much higher the canary's rate may be without anybody minding.
    """
    null = _Null()
    total = Stratum(0, 0, 0, 0)
    everything = list(strata)
    sizes = _running_sizes(everything)
    for stratum, allowed in zip(everything, looks(sizes, budget), strict=True):
        total = Stratum(*(a + b for a, b in zip(total, stratum, strict=True)))
        null.add(stratum)
        if not allowed or total.canary_hits / total.canary - total.baseline_hits / total.baseline <= tolerance:
            continue
        p = null.at_least(total.canary_hits)
        if p < allowed:
            return Look(total.canary, total.baseline, total.canary_hits, total.baseline_hits, p, allowed)
    return None


def chance(strata: Iterable[Stratum]) -> float:
    """How probable it is that an equal canary has at least as many hits as this one has, looked at this once."""
    null, hits = _Null(), 0
    for stratum in strata:
        null.add(stratum)
        hits += stratum.canary_hits
    return null.at_least(hits)


def rank_below(total: int, q: float, alpha: float) -> int:
    """Of so many samples, how many at least are below the q-quantile, but for a chance of `alpha`."""
    return bisect_left(range(total + 1), alpha, key=lambda k: float(bdtr(k, total, q)))


def rank_above(total: int, q: float, alpha: float) -> int:
    """Of so many samples, how many at most are below the q-quantile, but for a chance of `alpha`."""
    return bisect_left(range(total + 1), -alpha, key=lambda k: -float(bdtrc(k, total, q)))


def split(count: int, total: int, share: float) -> float:
    """How probable a split at least as uneven, to the same side, is; twice that, as nobody said to which side.

    Args:
        count: the draws that went to it.
        total: all draws.
        share: the chance of each, 0 to 1.
    """
    below = float(bdtr(count, total, share))
    above = float(bdtrc(count - 1, total, share)) if count else 1.0
    return min(1.0, 2 * min(below, above))


def _running_sizes(strata: Iterable[Stratum]) -> Iterator[int]:
    canary = baseline = 0
    for stratum in strata:
        canary, baseline = canary + stratum.canary, baseline + stratum.baseline
        yield min(canary, baseline)


class _Null:
    """How many hits the canary would have, were it as good as the baseline: a distribution that grows by strata."""

    def __init__(self) -> None:
        self._weights: NDArray[np.float64] = np.ones(1)
        self._first = 0
        self._hits = 0
        self._mean = 0.0
        self._variance = 0.0

    def add(self, stratum: Stratum) -> None:
        """Take a stratum into account."""
        hits = stratum.canary_hits + stratum.baseline_hits
        everyone = stratum.canary + stratum.baseline
        if not hits or not everyone:
            return
        hits = min(hits, everyone)
        self._hits += hits
        share = stratum.canary / everyone
        self._mean += hits * share
        if everyone > 1:
            self._variance += hits * share * (1 - share) * (everyone - hits) / (everyone - 1)
        if self._hits <= LARGE:
            first, weights = _urn(stratum.canary, stratum.baseline, hits)
            self._first += first
            self._weights = np.convolve(self._weights, weights)

    def at_least(self, hits: int) -> float:
        """The chance of at least so many."""
        if self._hits > LARGE:
            deviation = max(self._variance, 1e-9) ** 0.5
            return float(ndtr((self._mean - hits + 0.5) / deviation))
        return float(self._weights[max(0, hits - self._first) :].sum())


def _urn(canary: int, baseline: int, hits: int) -> tuple[int, NDArray[np.float64]]:
    """The hypergeometric distribution: the smallest possible number, and the chances of it and those after it."""
    low, high = max(0, hits - baseline), min(hits, canary)
    k = np.arange(low, high + 1)
    chances = np.exp(_choose(canary, k) + _choose(baseline, hits - k) - _choose(canary + baseline, np.asarray(hits)))
    return low, chances


def _choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found
