"""Compare latencies by counting how many requests take longer than a bound of the histogram. Pure.

Whether a request takes longer than a bound is a hit like a failure, so `worse` and `margin` apply. The bounds are the
baseline's quantiles in earlier strata: they are known before the stratum, so choosing them is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headway.bus.telemetry.histogram import BUCKETS, quantile
from headway.deployer.analysis.urn import ENOUGH, Stratum, log_mean, log_moments
from headway.deployer.analysis.worse import Worse

Counts = NDArray[np.int64]

_WATCHED: Final = (0.5, 0.9, 0.95, 0.99)
"""Tails at which a canary can be found slower: a general shift shows in the middle first, a slow path at the end."""
_PROVEN: Final = (0.9, 0.95)
"""Tails at which it is proven not to be slower."""
_KNOWN: Final = 40
"""Baseline samples needed before its quantiles are read."""
_RECENT: Final = 400
"""Approximate number of baseline samples for its quantiles; older ones fade. After a change of latency hardly any
request is near the old bounds, and nothing could be learned there.
"""
_FASTER: Final = (0.35, 0.6, 0.85)
_LOGS: Final = tuple(log(one) for one in _FASTER)


def nothing() -> Counts:
    """Return a histogram without samples."""
    return np.zeros(len(BUCKETS) + 1, dtype=np.int64)


def edge(counts: NDArray[Any], q: float) -> int:
    """Return the index of the bound whose tail is nearest to `1 - q`, as a ratio."""
    total = counts.sum()
    tails = (total - counts.cumsum()[:-1]) / total
    return int(np.argmin(np.abs(np.log(np.maximum(tails, 1e-6) / (1 - q)))))


class Slower:
    """Evidence that the canary takes longer, and that it does not take longer than a margin.

    Args:
        beginnings: as of `Worse`.
        factors: the margins to prove, one for each step: a factor and additional seconds.
    """

    __slots__ = ("_baseline", "_canary", "_factors", "_pending", "_proofs", "_recent", "_worse")

    def __init__(self, beginnings: int = 1, factors: Sequence[tuple[float, float]] = ()) -> None:
        self._worse = [Worse(beginnings) for _ in _WATCHED]
        self._factors = tuple(factors)
        self._proofs = np.zeros((len(self._factors), len(_PROVEN), len(_FASTER)))
        self._canary, self._baseline = nothing(), nothing()
        self._recent = nothing().astype(float)
        self._pending = (nothing(), nothing())

    def begin(self) -> None:
        """Start a new process beside the others, since the weights have changed."""
        self.close()
        for one in self._worse:
            one.begin()

    def add(self, canary: Counts, baseline: Counts) -> None:
        """Add the histograms of a period."""
        ours, theirs = self._pending[0] + canary, self._pending[1] + baseline
        self._pending = (ours, theirs)
        if int(ours.sum() + theirs.sum()) >= ENOUGH:
            self.close()

    def close(self) -> None:
        """Judge the samples collected so far."""
        ours, theirs = self._pending
        n, m = int(ours.sum()), int(theirs.sum())
        if not n + m:
            return
        if n and m and self._recent.sum() >= _KNOWN:
            above, below = n - ours.cumsum(), m - theirs.cumsum()
            edges = {q: edge(self._recent, q) for q in _WATCHED}
            for one, at in zip(self._worse, edges.values(), strict=True):
                one.add(Stratum(n, int(above[at]), m, int(below[at])))
            for number, (factor, plus) in enumerate(self._factors):
                for column, q in enumerate(_PROVEN):
                    at = edges[q]
                    bound = max(BUCKETS[at] * factor, BUCKETS[at] + plus)
                    to = int(np.searchsorted(BUCKETS, bound - 1e-9))
                    hits = int(above[to]) if to < len(BUCKETS) else 0
                    self._proofs[number, column] += _faster(Stratum(n, hits, m, int(below[at])))
        self._canary += ours
        self._baseline += theirs
        self._recent = self._recent * (_RECENT / (_RECENT + m)) + theirs
        self._pending = (nothing(), nothing())

    def log(self, factor: float, plus: float) -> float:
        """Return the logarithm of the e-value against an equal canary, over the tails that are noticeably longer.

        Args:
            factor: by which a quantile must be higher to be noticed.
            plus: seconds by which it must be higher as well.
        """
        return log_mean(
            [
                one.log if self._noticeable(q, factor, plus) else -inf
                for one, q in zip(self._worse, _WATCHED, strict=True)
            ]
        )

    def shown(self, number: int) -> float:
        """Return the logarithm of the e-value for a canary that is not slower than the margin with this index."""
        return log_mean(self._proofs[number].ravel().tolist())

    @property
    def counts(self) -> tuple[int, int]:
        """Return the number of samples of canary and baseline."""
        return int(self._canary.sum()), int(self._baseline.sum())

    @property
    def histograms(self) -> tuple[list[int], list[int]]:
        """Return the counts per bucket of canary and baseline."""
        return self._canary.tolist(), self._baseline.tolist()

    def quantiles(self, q: float) -> tuple[float | None, float | None]:
        """Return a quantile of the canary and of the baseline, in seconds."""
        return quantile(self._canary.tolist(), q), quantile(self._baseline.tolist(), q)

    def _noticeable(self, q: float, factor: float, plus: float) -> bool:
        ours, theirs = self.quantiles(q)
        return ours is not None and theirs is not None and ours > max(theirs * factor, theirs + plus)

    def state(self) -> dict[str, Any]:
        """Return the state for a successor."""
        return {
            "worse": [one.state() for one in self._worse],
            "proofs": self._proofs.round(3).tolist(),
            "canary": self._canary.tolist(),
            "baseline": self._baseline.tolist(),
            "recent": self._recent.round(2).tolist(),
        }

    def restore(self, state: Any) -> None:
        """Restore what `state` returned. Raises `ValueError`, `TypeError` or `KeyError` if it does not fit."""
        for one, kept in zip(self._worse, state["worse"], strict=True):
            one.restore(kept)
        proofs = np.array(state["proofs"], dtype=float).reshape(self._proofs.shape)
        canary, baseline = (np.array(state[side], dtype=np.int64) for side in ("canary", "baseline"))
        recent = np.array(state["recent"], dtype=float)
        if any(one.shape != nothing().shape for one in (canary, baseline, recent)):
            raise ValueError("histograms of another kind")
        self._proofs, self._canary, self._baseline, self._recent = proofs, canary, baseline, recent


def _faster(stratum: Stratum) -> NDArray[np.float64]:
    """Return the logarithm of each alternative's likelihood ratio to equal odds."""
    hits = stratum.hits
    if not hits or not stratum.canary or not stratum.baseline or hits == stratum.total:
        return np.zeros(len(_FASTER))
    moments = log_moments(stratum.canary, stratum.baseline, hits, _LOGS)
    found: NDArray[np.float64] = stratum.canary_hits * np.array(_LOGS) - moments
    return found
