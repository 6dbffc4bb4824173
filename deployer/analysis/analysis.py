"""The analysis of one rollout: all evidence on the canary, over all steps. Pure.

Every series (errors, latency, dead letters, ...) is an e-process with a share of one budget. Their sum, weighted by
the shares, is an e-process as well, however they depend on each other; so one threshold serves all of them, after
every second. A step is passed once each relevant series shows that the canary is not worse than the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from headway.bus.telemetry.histogram import BUCKETS
from headway.control.records import Criteria
from headway.deployer.analysis.failures import Failures
from headway.deployer.analysis.latency import Counts, Slower
from headway.deployer.analysis.look import PlannedLook
from headway.deployer.analysis.margin import MarginProof
from headway.deployer.analysis.strain import Strain
from headway.deployer.analysis.urn import NOTHING, Stratum, log_sum
from headway.deployer.evidence import Slice, Tally

SHARES: Final[Mapping[str, float]] = {
    "errors": 0.60,
    "rejected": 0.03,
    "look": 0.12,
    "latency": 0.09,
    "dead": 0.02,
    "shed": 0.02,
    "operations": 0.06,
    "operations' latency": 0.02,
    "tenants": 0.04,
}
"""Shares of the chance of a false alarm; together 1."""
KINDS: Final[Mapping[str, str]] = {"rpc": "calls", "job": "jobs", "on": "events"}
GROUPS: Final = 24
"""Operations and tenants that are analysed individually: those with the most traffic at first."""
DOUBT: Final = 0.1
"""Fraction of the stopping evidence above which no step is passed."""
_COUNTS: Final = 0.1
"""Share of the requests above which a kind of work must prove its latency."""
_NO_TIMES: Final[Counts] = np.zeros(len(BUCKETS) + 1, dtype=np.int64)

Outcome = Literal["stop", "pass", "waiting"]


class AnalysisFinding(NamedTuple):
    """Evidence of one series against the canary.

    Attributes:
        kind: as in `SHARES`.
        name: of the operation, the tenant or the kind of work; "" where there is none.
        log: logarithm of its share times its e-value.
    """

    kind: str
    name: str
    log: float


class AnalysisDecision(NamedTuple):
    """The decision from the evidence.

    Attributes:
        outcome: whether the release must stop, the step is passed, or nothing is proven yet.
        against: 0 to 1: progress of the evidence against the canary towards the threshold, in logarithms.
        shown: 0 to 1: the same for the proof that the canary is not worse.
        findings: the strongest evidence, if it must stop.
        p: p-value of the planned test, if that stops it.
    """

    outcome: Outcome
    against: float
    shown: float
    findings: tuple[AnalysisFinding, ...] = ()
    p: float | None = None


class Analysis:
    """The evidence of one rollout.

    Args:
        criteria: when the canary is too bad, and when it is good enough.
        weights: the canary's share of the traffic at each step, 0 to 1.
        step: index of the present step.

    Attributes:
        seconds, step_seconds: observed seconds, in total and in this step.
        step_tries: requests of the canary in this step.
        quiet: seconds since the canary's last request.
        strain: its use of its workers.
    """

    def __init__(self, criteria: Criteria, weights: Sequence[float], step: int = 0) -> None:
        self.criteria = criteria
        self.weights = tuple(weights)
        self.step = step
        self.seconds = 0.0
        self.step_seconds = 0.0
        self.step_tries = 0
        self.quiet = 0.0
        margin = criteria.margin
        self.goal = math.log(1 / (1 - criteria.confidence))
        following = (*self.weights[1:], 1.0)
        margins = [MarginProof(margin.odds, margin.points).scaled(share) for share in following]
        self._factors = [(1 + (margin.latency - 1) / share, margin.seconds / share) for share in following]
        self._beginnings = len(self.weights)
        self._errors = Failures(self._beginnings, margins)
        self._rejected = Failures(self._beginnings)
        self._rejections: dict[str, Stratum] = {}
        self._dead = Failures(self._beginnings, margins)
        self._shed = Failures(self._beginnings, margins)
        self._look = PlannedLook()
        self._latency: dict[str, Slower] = {}
        self._operations: dict[str, Failures] = {}
        self._slow: dict[str, Slower] = {}
        self._tenants: dict[str, Failures] = {}
        self.strain = Strain()

    def begin(self, step: int) -> None:
        """Continue with another step of the rollout."""
        if step == self.step:
            return
        self.step, self.step_seconds, self.step_tries = step, 0.0, 0
        self._look.begin()
        self.strain.begin()
        for one in self._all():
            one.begin()

    def add(self, part: Slice, seconds: float = 1.0) -> None:
        """Add the work of both versions in the same seconds."""
        ours, theirs = part.canary, part.baseline
        self.seconds += seconds
        self.step_seconds += seconds
        self.step_tries += ours.tries
        self.quiet = 0.0 if ours.tries else self.quiet + seconds
        self.strain.add(part)
        closed = self._errors.add(_stratum(ours.tries, ours.errors, theirs.tries, theirs.errors))
        if closed is not None:
            self._look.add(closed)
        self._rejected.add(_stratum(ours.tries, ours.rejected, theirs.tries, theirs.rejected))
        self._dead.add(_stratum(ours.tries, ours.dead, theirs.tries, theirs.dead))
        self._shed.add(_stratum(ours.tries + ours.shed, ours.shed, theirs.tries + theirs.shed, theirs.shed))
        for kind in {*ours.latency, *theirs.latency} & {*KINDS}:
            slower = self._latency.get(kind)
            if slower is None:
                slower = self._latency[kind] = self._caught_up(Slower(self._beginnings, self._factors))
            slower.add(_times(ours.latency.get(kind)), _times(theirs.latency.get(kind)))
        self._add_groups(self._operations, ours.operations, theirs.operations)
        self._add_groups(self._tenants, ours.tenants, theirs.tenants)
        for name in self._tenants:
            hits = Stratum(0, ours.rejections.get(name, 0), 0, theirs.rejections.get(name, 0))
            if hits.hits:
                self._rejections[name] = self._rejections.get(name, NOTHING) + hits
        for name in self._operations:
            mine, other = ours.operations.get(name), theirs.operations.get(name)
            if (mine and len(mine.latency)) or (other and len(other.latency)):
                if name not in self._slow:
                    self._slow[name] = self._caught_up(Slower(self._beginnings))
                self._slow[name].add(_times(mine.latency if mine else ()), _times(other.latency if other else ()))

    def decide(self) -> AnalysisDecision:
        """Decide from the evidence so far."""
        criteria = self.criteria
        threshold = math.log(1 / criteria.alpha)
        findings = [one for one in self._findings() if one.log > -math.inf]
        total = log_sum([one.log for one in findings])
        against = min(1.0, max(0.0, total / threshold))
        p, allowed = self._look.p, SHARES["look"] * criteria.alpha
        if total >= threshold:
            leading = max(one.log for one in findings) + math.log(0.3)
            worst = tuple(sorted((one for one in findings if one.log >= leading), key=lambda one: -one.log))
            return AnalysisDecision("stop", 1.0, 0.0, worst)
        if p is not None and p <= allowed and self._errors.difference > criteria.errors:
            return AnalysisDecision("stop", 1.0, 0.0, (AnalysisFinding("look", "", threshold),), p)
        shown = self._proofs()
        fraction = min(1.0, max(0.0, min(shown) / self.goal))
        if self._few or min(shown) < self.goal or total > threshold + math.log(DOUBT):
            return AnalysisDecision("waiting", against, fraction)
        return AnalysisDecision("pass", against, 1.0)

    def needed(self) -> float:
        """Return about how many more canary requests pass the step if the versions are equal; infinite if unknown."""
        at, goal = self._at, self.goal
        found = [one.proofs[at].needed(goal) for one in (self._errors, self._dead, self._shed)]
        tries = self._errors.total.canary
        logs = [slower.shown(at) for slower in self._timed()]
        found += [tries * (goal - log) / log if log > 0 else math.inf for log in logs if log < goal]
        return max(self._few, *found)

    def totals(self, kind: str, name: str = "") -> Stratum:
        """Return the counts of a series of failures."""
        series = {"operations": self._operations, "tenants": self._tenants}.get(kind)
        if series is not None:
            return series[name].total
        return {"dead": self._dead, "shed": self._shed, "rejected": self._rejected}.get(kind, self._errors).total

    def of_tenants(self, kind: str) -> dict[str, Stratum]:
        """Return the counts of each tenant that is analysed, for `errors` or `rejected`."""
        found = {name: one.total for name, one in self._tenants.items() if one.total.total}
        if kind != "rejected":
            return found
        hits = {name: self._rejections.get(name, NOTHING) for name in found}
        return {
            name: Stratum(one.canary, hits[name].canary_hits, one.baseline, hits[name].baseline_hits)
            for name, one in found.items()
        }

    def times(self, kind: str, name: str) -> tuple[Sequence[int], Sequence[int]]:
        """Return the histograms of canary and baseline, for a kind of work (`latency`) or an operation."""
        return (self._latency if kind == "latency" else self._slow)[name].histograms

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of work with known latency."""
        return tuple(kind for kind in KINDS if kind in self._latency)

    @property
    def limit(self) -> MarginProof:
        """The margin that this step has to prove."""
        return self._errors.proofs[self._at].margin

    @property
    def rate(self) -> float:
        """Requests of the canary per second in this step."""
        return self.step_tries / self.step_seconds if self.step_seconds else 0.0

    def state(self) -> dict[str, Any]:
        """Return the state for a successor: some ten kilobytes, independent of the duration."""
        return {
            "step": self.step,
            "weights": list(self.weights),
            "seconds": [round(self.seconds, 1), round(self.step_seconds, 1), self.step_tries, round(self.quiet, 1)],
            "errors": self._errors.state(),
            "rejected": self._rejected.state(),
            "rejections": {name: list(one) for name, one in self._rejections.items()},
            "dead": self._dead.state(),
            "shed": self._shed.state(),
            "look": self._look.state(),
            **{name: {key: one.state() for key, one in series.items()} for name, series in self._groups().items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            ValueError, TypeError, KeyError: if it belongs to another rollout, or was not written by this version.
        """
        if list(self.weights) != list(state["weights"]):
            raise ValueError("evidence of another rollout")
        self.step = int(state["step"])
        self.seconds, self.step_seconds = map(float, state["seconds"][:2])
        self.step_tries, self.quiet = int(state["seconds"][2]), float(state["seconds"][3])
        self._errors.restore(state["errors"])
        self._rejected.restore(state["rejected"])
        self._rejections = {name: Stratum(*map(int, kept)) for name, kept in state["rejections"].items()}
        self._dead.restore(state["dead"])
        self._shed.restore(state["shed"])
        self._look.restore(state["look"])
        for name, series in self._groups().items():
            for key, kept in state[name].items():
                if name == "latency":
                    one: Any = Slower(self._beginnings, self._factors)
                else:
                    one = Slower(self._beginnings) if name == "slow" else Failures(self._beginnings)
                one.restore(kept)
                series[key] = one

    def _groups(self) -> dict[str, dict[str, Any]]:
        return {"latency": self._latency, "operations": self._operations, "slow": self._slow, "tenants": self._tenants}

    def _all(self) -> Iterable[Failures | Slower]:
        yield from (self._errors, self._rejected, self._dead, self._shed)
        for series in self._groups().values():
            yield from series.values()

    def _caught_up(self, one: Any) -> Any:
        """Create a series when it is first seen, at the step of the others."""
        for _ in range(self.step):
            one.begin()
        return one

    def _add_groups(self, known: dict[str, Failures], ours: Mapping[str, Tally], theirs: Mapping[str, Tally]) -> None:
        fresh = [name for name in {*ours, *theirs} if name and name not in known]
        if fresh and len(known) < GROUPS:
            size = {name: sum(side[name].tries for side in (ours, theirs) if name in side) for name in fresh}
            for name in sorted(fresh, key=lambda one: (-size[one], one))[: GROUPS - len(known)]:
                known[name] = self._caught_up(Failures(self._beginnings))
        for name, one in known.items():
            mine, other = ours.get(name, _NONE), theirs.get(name, _NONE)
            if mine.tries or other.tries:
                one.add(_stratum(mine.tries, mine.errors, other.tries, other.errors))

    def _findings(self) -> Iterable[AnalysisFinding]:
        tolerance = self.criteria.errors
        series_ = (("errors", self._errors), ("rejected", self._rejected), ("dead", self._dead), ("shed", self._shed))
        for kind, one in series_:
            yield AnalysisFinding(kind, "", math.log(SHARES[kind]) + one.log(tolerance))
        limits = (self.criteria.latency, self.criteria.margin.seconds)
        for name, slower in self._latency.items():
            yield AnalysisFinding("latency", name, math.log(SHARES["latency"] / len(KINDS)) + slower.log(*limits))
        each = 1 / GROUPS
        for kind, series in (("operations", self._operations), ("tenants", self._tenants)):
            for name, one in series.items():
                yield AnalysisFinding(kind, name, math.log(SHARES[kind] * each) + one.log(tolerance))
        for name, slower in self._slow.items():
            log = math.log(SHARES["operations' latency"] * each) + slower.log(*limits)
            yield AnalysisFinding("operations' latency", name, log)

    def _proofs(self) -> list[float]:
        """Return the logarithms of everything that this step has to prove."""
        at = self._at
        failures = [one.proofs[at].log for one in (self._errors, self._dead, self._shed)]
        return [*failures, *(slower.shown(at) for slower in self._timed())]

    def _timed(self) -> Iterable[Slower]:
        """Return the kinds of work that are frequent enough to need proof of their latency."""
        return (one for one in self._latency.values() if sum(one.counts) >= _COUNTS * self._errors.total.total)

    @property
    def _at(self) -> int:
        return min(self.step, len(self.weights) - 1)

    @property
    def _few(self) -> int:
        """Return the requests that one side still lacks before a step can pass."""
        total = self._errors.total
        return max(0, self.criteria.requests - min(total.canary, total.baseline))


_NONE: Final = Tally()


def _stratum(canary: int, canary_hits: int, baseline: int, baseline_hits: int) -> Stratum:
    """Return a stratum; dead letters can be counted without a try in the same second."""
    return Stratum(max(canary, canary_hits), canary_hits, max(baseline, baseline_hits), baseline_hits)


def _times(counts: Sequence[int] | None) -> Counts:
    return _NO_TIMES if counts is None or not len(counts) else np.asarray(counts, dtype=np.int64)
