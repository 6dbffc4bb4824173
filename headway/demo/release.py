"""The third act: a good release of `fax` that completes, and a bad one that is rolled back automatically."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headway.bus import tasks
from headway.control.records import Criteria, Margin, RolloutRecord
from headway.control.store import Control, rollout_key
from headway.demo import work
from headway.demo.outbox import Faxes
from headway.demo.progress import DemoProgress
from headway.demo.switchboard import Callers
from headway.deployer.rollout import requests
from headway.deployer.version import version_of
from headway.images.build import build
from headway.installation import Installation
from headway.place import pool_of

GOOD: Final = "v2"
BAD: Final = "v3"
BAD_SHARE: Final = 0.3
"""Share of dials that fail in the bad version: frozen into its configuration."""
_STEPS: Final = (20, 50, 100)
_BAKE: Final = 2.0
_WINDOW: Final = 600.0
_CRITERIA: Final = Criteria(
    requests=40, alpha=0.002, latency=4.0, margin=Margin(odds=2.5, points=0.08, latency=4.0, seconds=0.5)
)
"""A wide margin, so that some hundred faxes prove that a version is as good. The bad one is far outside of it."""
_PER_SECOND: Final = 80.0
"""Faxes submitted by all tenants during the releases."""
_OPEN: Final = 40
"""Most faxes in transit at once. A busy machine then gets fewer faxes per second instead of a growing queue, which
would slow down the new version (it has fewer workers at first): the demo should show failures, not overload.
"""
_PAUSE: Final = 0.1
"""Seconds between two calls of one tenant meanwhile: they show that calls go on, and leave the machine to the faxes."""
_POLL: Final = 0.1
_SETTLED: Final = frozenset({"standby", "done", "rolled-back", "refused"})


@dataclass(slots=True)
class ReleaseOutcome:
    """The outcome of one release.

    Attributes:
        version: the released version.
        wanted: the expected final phase.
        phase: the actual final phase.
        seconds: from the request until then.
        record: its record, with all decisions.
    """

    version: str
    wanted: str
    phase: str = "not begun"
    seconds: float = 0.0
    record: RolloutRecord | None = None

    @property
    def caught(self) -> tuple[float, int] | None:
        """Return the seconds and requests between its first traffic and its rollback; None if it was not rolled
        back.
        """
        history = () if self.record is None else self.record.history
        first = next((one.at for one in history if one.after == "judge"), None)
        back = next((one for one in history if one.after == "back"), None)
        if first is None or back is None:
            return None
        tries = sum(one.tries for one in back.measured if one.version == self.version)
        return back.at - first, tries

    def summary(self) -> dict[str, Any]:
        """Return one object of plain JSON types."""
        record = self.record
        caught = self.caught
        return {
            "version": self.version,
            "phase": self.phase,
            "seconds": round(self.seconds, 2),
            "caught_after_s": None if caught is None else round(caught[0], 1),
            "caught_after_requests": None if caught is None else caught[1],
            "taken_back_because": None if record is None else record.abort,
            "took_over": 0 if record is None else record.took_over,
            "transitions": [] if record is None else [f"{one.after}: {one.reason}" for one in record.history],
        }


class Releases:
    """Two releases under load.

    Args:
        running: the installation.
        progress: receives what to show.
        config: configuration of the serving version; the releases only differ in their lines.
    """

    def __init__(self, running: Installation, progress: DemoProgress, config: dict[str, Any]) -> None:
        self._running = running
        self._progress = progress
        self._config = config
        self._store = Path(running.config.server.store)
        self._control = Control(running.bus)
        self._faxes = Faxes("release", progress)
        self._callers = Callers(running, work.TENANTS[1:], "meanwhile", progress, pause=_PAUSE)
        self._over = asyncio.Event()
        self.outcomes = [ReleaseOutcome(GOOD, "standby"), ReleaseOutcome(BAD, "rolled-back")]

    async def build(self) -> None:
        """Build the images of both versions."""
        folder = _folder("headway.services.fax")
        for version, config in ((GOOD, self._config), (BAD, {**self._config, "busy_share": BAD_SHARE})):
            await asyncio.to_thread(build, folder, version=version, data_dir=self._store, config=config)

    async def run(self) -> None:
        """Roll out both versions under load, and wait for its effects. Raises the clients' errors."""
        async with self._faxes.watching(self._running.bus), self._callers.calling():
            async with tasks.group() as group:
                group.create_task(self._submit())
                try:
                    for outcome in self.outcomes:
                        await self._deploy(outcome)
                finally:
                    self._over.set()
            await self._faxes.all_sent()

    def wrong(self) -> list[str]:
        """Return what failed, in words."""
        problems = [
            f"the release of fax {one.version} {'ended' if one.phase in _SETTLED else 'was still'} at {one.phase}, "
            f"not {one.wanted}"
            for one in self.outcomes
            if one.phase != one.wanted
        ]
        lost = self._faxes.submitted - len(self._faxes.sent)
        return [*problems, *([f"{lost} faxes submitted during the releases were not sent"] if lost else [])]

    def summary(self) -> dict[str, Any]:
        """Return one object of plain JSON types."""
        return {
            "faxes": self._faxes.submitted,
            "lost": self._faxes.submitted - len(self._faxes.sent),
            "releases": [one.summary() for one in self.outcomes],
        }

    async def _deploy(self, outcome: ReleaseOutcome) -> None:
        began = time.monotonic()
        what = "the good one" if outcome.wanted == "standby" else f"{BAD_SHARE:.0%} of its dials fail"
        self._progress.act = f"fax {outcome.version} is rolled out: {what}"
        version = version_of(
            self._store.absolute(), "fax", outcome.version, pool=pool_of(self._store), grace=10, priority="low"
        )
        await self._control.refresh()
        asked = await requests.deploy(
            self._control, version, steps=_STEPS, bake=_BAKE, window=_WINDOW, criteria=_CRITERIA
        )
        while True:
            await self._control.refresh()
            kept = await self._control.get(rollout_key("fax"), RolloutRecord)
            if kept is not None and kept.value.number == asked.number:
                outcome.record = kept.value
                outcome.phase, outcome.seconds = kept.value.phase, time.monotonic() - began
                if outcome.phase in _SETTLED:
                    return
            await asyncio.sleep(_POLL)

    async def _submit(self) -> None:
        """Submit faxes of all tenants until the releases are over."""
        async with tasks.group() as group:
            for number, name in enumerate(work.TENANTS):
                group.create_task(self._submit_for(name, number))

    async def _submit_for(self, name: str, first: int) -> None:
        async with await self._running.broker.connect("client", tenant=name) as bus:
            client, number = bus.tenant(name), first
            while not self._over.is_set():
                await self._faxes.room(_OPEN)
                await self._faxes.submit(client, number)
                number += len(work.TENANTS)
                await asyncio.sleep(len(work.TENANTS) / _PER_SECOND)


def _folder(module: str) -> Path:
    """Return the folder of a package without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
