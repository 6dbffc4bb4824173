"""Counts of both versions in the same period, and the distribution of failures between equal versions. Pure.

Take the requests of one stratum (a second or a few) together: `n` at the canary, `N - n` at the baseline, `m` of all
failed. Routing is random, so if the versions are equal the canary's part of the `m` is hypergeometric, whatever the
failure rate was at that time. If the canary's odds of failing are `psi` times the baseline's, it is Fisher's
noncentral hypergeometric distribution, `P(x) = P0(x) psi^x / M(psi)` with `M(psi) = sum_k P0(k) psi^k`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, inf, log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln  # not scipy.stats: importing that takes more than a second

Floats = NDArray[np.float64]

ENOUGH: Final = 20
"""Requests of both sides that make a stratum. Smaller ones often lack one side, and show nothing."""


class Stratum(NamedTuple):
    """Counts of both versions in the same period: requests, and hits among them."""

    canary: int
    canary_hits: int
    baseline: int
    baseline_hits: int

    def __add__(self, other: Stratum) -> Stratum:  # type: ignore[override]
        return Stratum(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    @property
    def total(self) -> int:
        """Return the requests of both sides."""
        return self.canary + self.baseline

    @property
    def hits(self) -> int:
        """Return the hits of both sides."""
        return self.canary_hits + self.baseline_hits


NOTHING: Final = Stratum(0, 0, 0, 0)


@lru_cache(maxsize=8192)
def urn(canary: int, baseline: int, hits: int) -> tuple[int, Floats]:
    """Return the smallest possible number of canary hits, and the logarithm of each number's probability."""
    low, high = max(0, hits - baseline), min(hits, canary)
    k = np.arange(low, high + 1)
    logs: Floats = _choose(canary, k) + _choose(baseline, hits - k) - _choose(canary + baseline, np.asarray(hits))
    return low, logs


@lru_cache(maxsize=65_536)
def log_moments(canary: int, baseline: int, hits: int, log_psis: tuple[float, ...]) -> Floats:
    """Return `ln M(psi)` for each odds ratio, given as its logarithm."""
    low, logs = urn(canary, baseline, hits)
    terms = logs[:, None] + np.outer(np.arange(low, low + len(logs)), log_psis)
    most = terms.max(axis=0)
    found: Floats = most + np.log(np.exp(terms - most).sum(axis=0))
    return found


def _choose(n: int, k: NDArray[np.int64]) -> Floats:
    found: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of the sum of numbers given as logarithms; `-inf` for none."""
    most = max(logs, default=-inf)
    return most if most == -inf else most + log(sum(exp(one - most) for one in logs))


def log_mean(logs: Sequence[float]) -> float:
    """Return the logarithm of the mean of numbers given as logarithms."""
    return log_sum(logs) - log(len(logs))
