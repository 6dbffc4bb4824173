"""Other judges of canaries, from their public descriptions, on the same traffic.

Each is asked after every second of a step, and says `stop`, `pass`, or nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from typing import Final, Literal, Protocol

import numpy as np

from headway.control.records import Criteria
from headway.deployer.analysis.analysis import Analysis
from headway.deployer.analysis.look import chance
from headway.deployer.analysis.urn import NOTHING, Stratum
from headway.deployer.evidence import Slice

Said = Literal["stop", "pass"] | None


class Peer(Protocol):
    """A judge of one release."""

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""


class Headway:
    """Headway: proof before promotion, with steps of at least `bake` seconds."""

    def __init__(self, weights: Sequence[float], bake: float) -> None:
        self._analysis = Analysis(Criteria(), weights)
        self._bake = bake
        self.strain = self._analysis.strain

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""
        del weight
        self._analysis.begin(step)

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""
        self._analysis.add(part)
        outcome = self._analysis.decide().outcome
        if outcome == "pass" and self._analysis.step_seconds < self._bake:
            return None
        return None if outcome == "waiting" else outcome


class Looks:
    """Headway until now: exact tests at planned sizes, each step from scratch, a pass after 50 requests without
    alarm.
    """

    _SPENT: Final = {56: 0.05, 112: 0.1, 225: 0.1, 450: 0.15, 900: 0.4, 1800: 0.1, 3600: 0.05}

    def __init__(self, weights: Sequence[float], bake: float) -> None:
        self._alpha, self._bake = 0.01 * 0.6 / len(weights), bake
        self._last = len(weights) - 1
        self.begin(0, weights[0])

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""
        del weight
        self._step = step
        self._strata: list[Stratum] = []
        self._total, self._seconds, self._looked = NOTHING, 0, 0

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""
        self._seconds += 1
        if self._step == self._last:  # no other version had traffic to compare with
            return "pass" if self._seconds >= self._bake else None
        one = _stratum(part)
        self._strata.append(one)
        self._total += one
        size = min(self._total.canary, self._total.baseline)
        due = [at for at in self._SPENT if self._looked < at <= size]
        higher = self._total.baseline and self._total.canary and _difference(self._total) > 0.005
        if due:
            self._looked = max(due)
            if higher and chance(self._strata) < self._alpha * sum(self._SPENT[at] for at in due):
                return "stop"
        if self._seconds < self._bake or size < 50:
            return None
        doubtful = size < 1000 and higher and chance(self._strata) < 0.01
        return None if doubtful else "pass"


class Kayenta:
    """Mann-Whitney at 98% on the error rates of ten-second windows, judged each minute; each step takes five
    minutes.
    """

    WINDOW, EVERY, LIFETIME = 10, 60, 300

    def __init__(self, weights: Sequence[float], bake: float) -> None:
        del bake
        self.begin(0, weights[0])

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""
        del step, weight
        self._seconds, self._window = 0, NOTHING
        self._canary: list[float] = []
        self._baseline: list[float] = []

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""
        self._seconds += 1
        self._window += _stratum(part)
        if self._seconds % self.WINDOW == 0:
            if self._window.canary and self._window.baseline:
                self._canary.append(self._window.canary_hits / self._window.canary)
                self._baseline.append(self._window.baseline_hits / self._window.baseline)
            self._window = NOTHING
        if self._seconds % self.EVERY:
            return None
        from scipy.stats import mannwhitneyu  # takes more than half a second, which tests of others need not wait for

        # The rule's tolerance: a difference counts above a quarter of the mean.
        shifted = np.array(self._baseline) + 0.25 * float(np.mean([*self._canary, *self._baseline] or [0]))
        if len(self._canary) >= 3 and mannwhitneyu(self._canary, shifted, alternative="greater").pvalue < 0.01:
            return "stop"
        return "pass" if self._seconds >= self.LIFETIME else None


class Threshold:
    """Success rates of the canary alone: too many minutes below a threshold fail it."""

    def __init__(self, least: float, failures: int, minutes: int) -> None:
        self._least, self._failures, self._minutes = least, failures, minutes
        self._failed = 0
        self.begin(0, 0.0)

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""
        del step, weight
        self._seconds, self._window = 0, NOTHING

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""
        self._seconds += 1
        self._window += _stratum(part)
        if self._seconds % 60:
            return None
        window, self._window = self._window, NOTHING
        if window.canary and 1 - window.canary_hits / window.canary < self._least:
            self._failed += 1
            if self._failed >= self._failures:
                return "stop"
            if self._minutes == 1:  # a failed check halts the advance
                return None
        return "pass" if self._seconds >= 60 * self._minutes else None


def flagger(weights: Sequence[float], bake: float) -> Peer:
    """Return Flagger's example: success rate at least 99% in each minute, five failed checks roll back."""
    del weights, bake
    return Threshold(0.99, 5, 1)


def argo(weights: Sequence[float], bake: float) -> Peer:
    """Return the example of Argo Rollouts: success rate at least 95%, more than three failed measurements abort."""
    del weights, bake
    return Threshold(0.95, 4, 5)


class Msprt:
    """The mixture sequential probability ratio test on the difference of two shares, at 1% for the release."""

    TAU: Final = 0.05

    def __init__(self, weights: Sequence[float], bake: float) -> None:
        self._bake, self._total = bake, NOTHING
        self.begin(0, weights[0])

    def begin(self, step: int, weight: float) -> None:
        """Start a step."""
        del step, weight
        self._seconds, self._from = 0, self._total

    def second(self, part: Slice) -> Said:
        """Judge the step after another second."""
        self._seconds += 1
        self._total += _stratum(part)
        total = self._total
        if min(total.canary, total.baseline) < 10:
            return None
        share = total.hits / total.total
        variance = max(share * (1 - share), 1e-6) * (1 / total.canary + 1 / total.baseline)
        found, tau = _difference(total), self.TAU**2
        ratio = sqrt(variance / (variance + tau)) * exp(min(500, tau * found**2 / (2 * variance * (variance + tau))))
        if found > 0 and ratio >= 100:
            return "stop"
        enough = total.canary - self._from.canary >= 50
        return "pass" if enough and self._seconds >= self._bake else None


def _stratum(part: Slice) -> Stratum:
    return Stratum(part.canary.tries, part.canary.errors, part.baseline.tries, part.baseline.errors)


def _difference(total: Stratum) -> float:
    return total.canary_hits / total.canary - total.baseline_hits / total.baseline


PEERS: Final = {
    "Headway": Headway,
    "Headway's looks until now": Looks,
    "Kayenta (Mann-Whitney)": Kayenta,
    "Flagger (99%)": flagger,
    "Argo Rollouts (95%)": argo,
    "mSPRT": Msprt,
}
