"""One series of the analysis: how often something ends badly at both versions, and what that shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from headway.deployer.analysis.margin import Margin, NotWorse
from headway.deployer.analysis.urn import ENOUGH, NOTHING, Stratum
from headway.deployer.analysis.worse import Worse


class Failures:
    """Evidence on the share of failures, of dead letters, or of whatever else can be counted.

    Args:
        beginnings: as of `Worse`.
        margins: those that are to be shown, one for each step; none for a series that can only stop a release.
    """

    __slots__ = ("_apart", "_pending", "_weight", "_worse", "proofs", "total")

    def __init__(self, beginnings: int = 1, margins: Sequence[Margin] = ()) -> None:
        self._worse = Worse(beginnings)
        self.proofs = [NotWorse(margin) for margin in margins]
        self._pending = self.total = NOTHING
        self._apart = self._weight = 0.0

    def begin(self) -> None:
        """Begin anew beside what is known: the weights are others now."""
        self._close()
        self._worse.begin()

    def add(self, part: Stratum) -> Stratum | None:
        """Take a time into account; return the stratum that this completes, if it does."""
        self._pending += part
        return self._close() if self._pending.total >= ENOUGH else None

    def _close(self) -> Stratum:
        """Judge what has come together so far."""
        stratum, self._pending = self._pending, NOTHING
        self._worse.add(stratum)
        for proof in self.proofs:
            proof.add(stratum)
        self.total += stratum
        if both := stratum.canary * stratum.baseline:
            crossed = stratum.canary_hits * stratum.baseline - stratum.baseline_hits * stratum.canary
            self._apart += crossed / stratum.total
            self._weight += both / stratum.total
        return stratum

    @property
    def difference(self) -> float:
        """By how much the canary's share is higher, weighed by strata as Mantel and Haenszel do."""
        return self._apart / self._weight if self._weight else 0.0

    def log(self, tolerance: float) -> float:
        """Return the logarithm of the e-value against an equal canary; nothing if the difference is not noticeable."""
        return self._worse.log if self.difference > tolerance else -inf

    def state(self) -> dict[str, Any]:
        """What to keep for a successor."""
        return {
            "worse": self._worse.state(),
            "proofs": [proof.state() for proof in self.proofs],
            "total": list(self.total),
            "apart": [round(self._apart, 4), round(self._weight, 4)],
        }

    def restore(self, state: Any) -> None:
        """Go on from what `state` returned. Raises `ValueError`, `TypeError` or `KeyError` if it does not fit."""
        self._worse.restore(state["worse"])
        for proof, kept in zip(self.proofs, state["proofs"], strict=True):
            proof.restore(kept)
        self.total = Stratum(*map(int, state["total"]))
        self._apart, self._weight = map(float, state["apart"])
