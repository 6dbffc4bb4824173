"""The comparison of a rollout's two versions while it runs: feeds their heartbeats into the analysis.

The evidence is stored beside the rollout's record every few seconds, so a deployer that takes over continues with it.
Evidence that a dying deployer had not stored is lost, which delays a decision but never makes it wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, StoreError
from headway.control.fleet import Fleet
from headway.control.records import Check, EvidenceRecord, Point, RolloutRecord, Verdict
from headway.control.store import Control, evidence_key
from headway.deployer import checks
from headway.deployer.analysis.analysis import Analysis, AnalysisDecision
from headway.deployer.analysis.bound import Above, bound_of, exceeded
from headway.deployer.analysis.verdict import judge
from headway.deployer.evidence import NOTHING, Checked, Side, Slice
from headway.deployer.rollout.plan import weights

SLICE: Final = 1.0
"""Seconds of a slice: the period of heartbeats."""
NOTED_EVERY: Final = 5.0
"""Seconds after which the evidence is stored again."""
CHECK_EVERY: Final = 5.0
"""Seconds between two rounds of the user's checks."""
POINTS: Final = 60
"""Most points kept of the evidence's course. Beyond that, every second point is dropped."""
_AGAIN: Final = 0.5
"""Seconds after which a check that is not good is repeated once."""
_GAP: Final = 5.0
"""Seconds of a slice beyond which the rest counts as unobserved."""

_log = logging.getLogger("headway.deployer")


class Comparison:
    """The comparison of one rollout.

    Args:
        record: the rollout.
        fleet: the view of the workers.
        known: what a previous deployer had stored.
    """

    def __init__(self, record: RolloutRecord, fleet: Fleet, known: EvidenceRecord | None = None) -> None:
        self._of = _which(record)
        self._fleet = fleet
        self._analysis = Analysis(record.criteria, step_weights(record), record.step)
        self._bound: Above | None = None
        self._points: list[Point] = []
        self._at = _place(record)
        self._last = self._noted = time.monotonic()
        self._checked = 0.0
        self._results: tuple[Checked, ...] = ()
        self.verdict: Verdict | None = None
        if known is not None and (known.number, known.rechecks) == self._of:
            self._restore(record, known)
        self._take(record)

    @classmethod
    async def resumed(cls, control: Control, record: RolloutRecord, fleet: Fleet) -> Comparison:
        """Return the comparison of a rollout, with its stored evidence. Raises as `Control.get`."""
        try:
            known = await control.get(evidence_key(record.service), EvidenceRecord)
        except StoreError as error:
            _log.warning("%s: the evidence is collected again: %s", record.service, error)
            known = None
        return cls(record, fleet, None if known is None else known.value)

    @property
    def seconds(self) -> float:
        """Seconds for which the step was observed."""
        return self._analysis.step_seconds

    def of(self, record: RolloutRecord) -> bool:
        """Return whether this compares the given rollout, since its last recheck."""
        return self._of == _which(record)

    async def go_on(self, bus: Bus, control: Control, record: RolloutRecord) -> None:
        """Observe, run the checks when they are due, judge, and store the evidence."""
        if self._at != _place(record):
            self._at = _place(record)
            self._analysis.begin(record.step)
            self._last = time.monotonic()
            self.verdict = None
            self._take(record)  # work done during the shift belongs to neither step
            return
        now = time.monotonic()
        passed = now - self._last
        if passed < SLICE:
            return
        self._last = now
        part = self._take(record)
        if record.paused:
            return
        if record.phase == "judge":
            await self._compare(bus, control, record, part, min(passed, _GAP))
        elif record.before is not None and not record.urgent:
            self._watch(record, part)
        if now - self._noted >= NOTED_EVERY:
            self._noted = now
            await self._note(control, record)

    async def _compare(self, bus: Bus, control: Control, record: RolloutRecord, part: Slice, seconds: float) -> None:
        """Judge a step: against the other version, or without one, against a bound."""
        if record.checks and time.monotonic() - self._checked >= CHECK_EVERY:
            self._results = await run_checks(bus, record)
            self._checked = time.monotonic()
        old = record.before if record.before in weights(record, record.weight) else None
        self._analysis.add(part, seconds)
        canary = _side(control, record.service, record.version)
        baseline = None if old is None else _side(control, record.service, old)
        self.verdict = judge(self._analysis, canary, baseline, self._results, record.service)
        if old is None and record.before is not None:
            self._watch(record, part)
        self._draw(self._analysis.decide())
        self.verdict = self.verdict.model_copy(update={"evidence": tuple(self._points)})

    def _watch(self, record: RolloutRecord, part: Slice) -> None:
        """Compare a version that has all traffic with a bound."""
        if self._bound is None:
            self._bound = Above(bound_of(self._analysis.totals("errors"), record.criteria.ceiling))
        self._bound.add(part.canary.tries, part.canary.errors)
        if (why := exceeded(self._bound, record.version)) is not None:
            self.verdict = Verdict(outcome="fail", reasons=(why,), evidence=tuple(self._points))

    def _draw(self, decision: AnalysisDecision) -> None:
        """Record how the evidence grew, in a bounded number of points."""
        at = round(self._analysis.seconds, 1)
        point = Point(at=at, against=round(decision.against, 3), shown=round(decision.shown, 3))
        if len(self._points) > 1 and at - self._points[-2].at < self._points[-1].at / POINTS:
            self._points[-1] = point
        else:
            self._points.append(point)
        if len(self._points) > POINTS:
            self._points = [*self._points[:-1:2], self._points[-1]]

    async def _note(self, control: Control, record: RolloutRecord) -> None:
        noted = EvidenceRecord(
            service=record.service,
            number=record.number,
            rechecks=record.rechecks,
            analysis=self._analysis.state(),
            bound=None if self._bound is None else self._bound.state(),
            points=tuple(self._points),
        )
        try:
            await control.put(evidence_key(record.service), noted)
        except HeadwayError as error:  # stored again in a moment; only a takeover right now would start from zero
            _log.warning("%s: the evidence was not noted: %s", record.service, error)

    def _restore(self, record: RolloutRecord, known: EvidenceRecord) -> None:
        analysis = Analysis(record.criteria, step_weights(record), record.step)
        try:
            analysis.restore(known.analysis)
            bound = None if known.bound is None else Above.restored(known.bound)
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("%s: the evidence of release %d is collected again: %r", record.service, record.number, error)
            return
        analysis.begin(record.step)
        self._analysis, self._bound, self._points = analysis, bound, list(known.points)

    def _take(self, record: RolloutRecord) -> Slice:
        baseline = NOTHING if record.before is None else self._fleet.take(record.service, record.before)
        return Slice(self._fleet.take(record.service, record.version), baseline)


async def run_checks(bus: Bus, record: RolloutRecord) -> tuple[Checked, ...]:
    """Run the user's checks of a version concurrently. One that is not good is repeated before it counts."""

    async def one(check: Check) -> Checked:
        found = await checks.run(bus, record.service, record.version, record.before, check)
        if found.ok:
            return found
        await asyncio.sleep(_AGAIN)
        return await checks.run(bus, record.service, record.version, record.before, check)

    return tuple(await asyncio.gather(*map(one, record.checks)))


def step_weights(record: RolloutRecord) -> tuple[float, ...]:
    """Return the canary's share of the traffic at each step, 0 to 1."""
    last = record.model_copy(update={"step": len(record.steps) - 1, "full": False}).weight
    return (*(step / 100 for step in record.steps[:-1]), last / 100)


def _which(record: RolloutRecord) -> tuple[int, int]:
    return record.number, record.rechecks


def _place(record: RolloutRecord) -> tuple[int, float]:
    return record.step, record.since


def _side(control: Control, service: str, version: str) -> Side:
    found = control.scales.get((service, version))
    return Side(version) if found is None else Side(version, found.health, found.deaths, found.last_exit)
