"""One exact test at a planned size, which is stronger there than an e-process. Pure.

An e-process is valid at any size, and therefore weaker at each single one. So a part of the error budget is spent at
one planned size, where a difference of five points should be found: the sum over strata of the canary's hits has the
convolution of their hypergeometric distributions, and its tail is the p-value. With one stratum this is Fisher's
exact test, with many the exact form of Cochran's, Mantel's and Haenszel's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from scipy.special import ndtr

from headway.deployer.analysis.urn import Stratum, urn

SIZE: Final = 940
"""Requests of the smaller side at which the test is made."""
LARGE: Final = 2_000
"""Hits of both sides above which their distribution is approximated as normal."""
_BLOCKS: Final = 64
"""Most strata that are kept. Neighbours within one step are joined, since routing within a step is uniform."""


class PlannedLook:
    """One exact test at one size.

    Args:
        size: requests of the smaller side at which the test is made.
    """

    __slots__ = ("_blocks", "_size", "p")

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._blocks: list[list[Stratum]] = [[]]
        self.p: float | None = None
        """The p-value, once the test was made."""

    def begin(self) -> None:
        """Join no later stratum to the earlier ones: the weights have changed."""
        self._blocks.append([])

    def add(self, stratum: Stratum) -> None:
        """Add a stratum, and make the test if it completes the size."""
        if self.p is not None:
            return
        self._blocks[-1].append(stratum)
        if sum(map(len, self._blocks)) > _BLOCKS:
            self._blocks = [_joined(block) for block in self._blocks]
        everything = [one for block in self._blocks for one in block]
        if min(sum(s.canary for s in everything), sum(s.baseline for s in everything)) >= self._size:
            self.p = chance(everything)
            self._blocks = [[]]

    def state(self) -> dict[str, Any]:
        """Return the state for a successor."""
        return {"p": self.p, "blocks": [[list(s) for s in block] for block in self._blocks]}

    def restore(self, state: Any) -> None:
        """Restore what `state` returned. Raises `ValueError`, `TypeError` or `KeyError` if it does not fit."""
        self.p = None if state["p"] is None else float(state["p"])
        self._blocks = [[Stratum(*map(int, s)) for s in block] for block in state["blocks"]] or [[]]


def chance(strata: Iterable[Stratum]) -> float:
    """Return the probability that an equal canary has at least as many hits as observed."""
    weights, first, hits, found = np.ones(1), 0, 0, 0
    mean = variance = 0.0
    for one in strata:
        hits += one.canary_hits
        if not one.hits or not one.total:
            continue
        found += one.hits
        share = one.canary / one.total
        mean += one.hits * share
        if one.total > 1:
            variance += one.hits * share * (1 - share) * (one.total - one.hits) / (one.total - 1)
        if found <= LARGE:
            low, logs = urn(one.canary, one.baseline, one.hits)
            first += low
            weights = np.convolve(weights, np.exp(logs))
    if found > LARGE:
        return float(ndtr((mean - hits + 0.5) / max(variance, 1e-9) ** 0.5))
    return min(1.0, float(weights[max(0, hits - first) :].sum()))


def _joined(block: list[Stratum]) -> list[Stratum]:
    pairs = [a + b for a, b in zip(block[::2], block[1::2], strict=False)]
    return [*pairs, *([block[-1]] if len(block) % 2 else [])]
