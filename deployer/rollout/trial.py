"""A step on trial: what is heard of both versions while it is judged, and the verdict. Kept in memory.

A deployer that takes over begins to listen anew: the step is then judged for longer, never on less.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from headway.bus.client.bus import Bus
from headway.control.fleet import Fleet
from headway.control.records import Check, RolloutRecord, Verdict
from headway.control.store import Control
from headway.deployer import checks
from headway.deployer.evidence import LAGS, Checked, Count, Evidence, Side, Slice
from headway.deployer.judge import judge
from headway.deployer.rollout.plan import weights

SLICE: Final = 1.0
"""Seconds of a slice: as often as workers tell."""
MOST: Final = 120
"""Slices, above which two and two are joined."""
CHECK_EVERY: Final = 5.0
"""Seconds between two rounds of the user's checks."""
_AGAIN: Final = 0.5
"""Seconds after which a check that failed is asked once more."""


class Trial:
    """One step of one rollout.

    Args:
        record: the rollout.
        fleet: the view of the workers.
    """

    def __init__(self, record: RolloutRecord, fleet: Fleet) -> None:
        self._of = _identity(record)
        self._fleet = fleet
        self._began = self._last = time.monotonic()
        self._checked = 0.0
        self._results: tuple[Checked, ...] = ()
        self._slices: list[Slice] = []
        self.verdict: Verdict | None = None
        self._take(record)

    @property
    def seconds(self) -> float:
        """For how long it has listened."""
        return self._last - self._began

    def of(self, record: RolloutRecord) -> bool:
        """Whether it is about the step at which a rollout is."""
        return self._of == _identity(record)

    async def go_on(self, bus: Bus, control: Control, record: RolloutRecord) -> None:
        """Listen on, run the checks when they are due, and judge."""
        now = time.monotonic()
        if now - self._last < SLICE:
            return
        self._slices.append(self._take(record))
        self._last = now
        if len(self._slices) > MOST:
            pairs = zip(self._slices[::2], [*self._slices[1::2], Slice()], strict=False)
            self._slices = [Slice(_sum(a.canary, b.canary), _sum(a.baseline, b.baseline)) for a, b in pairs]
        if record.checks and now - self._checked >= CHECK_EVERY:
            self._results = await run_checks(bus, record)
            self._checked = now
        old = record.before if record.before in weights(record, record.weight) else None
        evidence = Evidence(
            canary=_side(control, record.service, record.version),
            baseline=None if old is None else _side(control, record.service, old),
            slices=self._slices,
            checks=self._results,
        )
        self.verdict = judge(evidence, record.criteria, len(record.steps))

    def _take(self, record: RolloutRecord) -> Slice:
        baseline = Count() if record.before is None else self._fleet.take(record.service, record.before)
        return Slice(self._fleet.take(record.service, record.version), baseline)


async def run_checks(bus: Bus, record: RolloutRecord) -> tuple[Checked, ...]:
    """The user's checks of a version, side by side. One that fails is asked again before that counts."""

    async def one(check: Check) -> Checked:
        found = await checks.run(bus, record.service, record.version, check)
        if found.ok:
            return found
        await asyncio.sleep(_AGAIN)
        return await checks.run(bus, record.service, record.version, check)

    return tuple(await asyncio.gather(*map(one, record.checks)))


def _identity(record: RolloutRecord) -> tuple[int, int, float]:
    return record.number, record.step, record.since


def _side(control: Control, service: str, version: str) -> Side:
    found = control.scales.get((service, version))
    return Side(version) if found is None else Side(version, found.health, found.deaths, found.last_exit)


def _sum(a: Count, b: Count) -> Count:
    latency = {kind: list(counts) for kind, counts in a.latency.items()}
    for kind, counts in b.latency.items():
        latency[kind] = [x + y for x, y in zip(latency[kind], counts, strict=True)] if kind in latency else list(counts)
    return Count(
        tries=a.tries + b.tries,
        errors=a.errors + b.errors,
        shed=a.shed + b.shed,
        dead=a.dead + b.dead,
        latency=latency,
        cpu_s=a.cpu_s + b.cpu_s,
        seconds=a.seconds + b.seconds,
        lags=_thinned((*a.lags, *b.lags)),
    )


def _thinned(lags: tuple[float, ...]) -> tuple[float, ...]:
    return lags[:: -(-len(lags) // LAGS) or 1]
