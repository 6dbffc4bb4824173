"""One series of the analysis: how often something fails at both versions, and the evidence in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from headway.deployer.analysis.margin import MarginProof, NotWorse
from headway.deployer.analysis.urn import ENOUGH, NOTHING, Stratum
from headway.deployer.analysis.worse import Worse


class Failures:
    """Evidence on the share of failures, of dead letters, or of other countable results.

    Args:
        beginnings: as of `Worse`.
        margins: the margins to prove, one for each step; none for a series that can only stop a release.
    """

    __slots__ = ("_apart", "_pending", "_weight", "_worse", "proofs", "total")

    def __init__(self, beginnings: int = 1, margins: Sequence[MarginProof] = ()) -> None:
        self._worse = Worse(beginnings)
        self.proofs = [NotWorse(margin) for margin in margins]
        self._pending = self.total = NOTHING
        self._apart = self._weight = 0.0

    def begin(self) -> None:
        """Start a new process beside the others, since the weights have changed."""
        self._close()
        self._worse.begin()

    def add(self, part: Stratum) -> Stratum | None:
        """Add the counts of a period; return the stratum that this completes, if any."""
        self._pending += part
        return self._close() if self._pending.total >= ENOUGH else None

    def _close(self) -> Stratum:
        """Judge the counts collected so far."""
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
        """Return by how much the canary's share is higher, weighted by strata (Mantel and Haenszel)."""
        return self._apart / self._weight if self._weight else 0.0

    def log(self, tolerance: float) -> float:
        """Return the logarithm of the e-value against an equal canary; nothing if the difference is negligible."""
        return self._worse.log if self.difference > tolerance else -inf

    def state(self) -> dict[str, Any]:
        """Return the state for a successor."""
        return {
            "worse": self._worse.state(),
            "proofs": [proof.state() for proof in self.proofs],
            "total": list(self.total),
            "apart": [round(self._apart, 4), round(self._weight, 4)],
        }

    def restore(self, state: Any) -> None:
        """Restore what `state` returned. Raises `ValueError`, `TypeError` or `KeyError` if it does not fit."""
        self._worse.restore(state["worse"])
        for proof, kept in zip(self.proofs, state["proofs"], strict=True):
            proof.restore(kept)
        self.total = Stratum(*map(int, state["total"]))
        self._apart, self._weight = map(float, state["apart"])
