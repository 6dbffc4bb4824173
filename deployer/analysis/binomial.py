"""Bounds and probabilities of the binomial distribution, for percentiles and traffic splits. Pure."""

from __future__ import annotations

from bisect import bisect_left

from scipy.special import bdtr, bdtrc  # not scipy.stats: importing it takes more than a second


def rank_below(total: int, q: float, alpha: float) -> int:
    """Return the least number of samples below the q-quantile, except with probability `alpha`."""
    return bisect_left(range(total + 1), alpha, key=lambda k: float(bdtr(k, total, q)))


def rank_above(total: int, q: float, alpha: float) -> int:
    """Return the greatest number of samples below the q-quantile, except with probability `alpha`."""
    return bisect_left(range(total + 1), -alpha, key=lambda k: -float(bdtrc(k, total, q)))


def split(count: int, total: int, share: float) -> float:
    """Return the two-sided probability of a split at least this uneven.

    Args:
        count: the draws that went to it.
        total: all draws.
        share: the chance of each, 0 to 1.
    """
    below = float(bdtr(count, total, share))
    above = float(bdtrc(count - 1, total, share)) if count else 1.0
    return min(1.0, 2 * min(below, above))
