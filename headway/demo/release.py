"""The third act: a release of `fax` that goes through, and one that is worse and is taken back by itself."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from headway import rollouts
from headway.control.records import Criteria, RolloutRecord
from headway.control.store import Control, rollout_key
from headway.demo import work
from headway.demo.outbox import Faxes
from headway.demo.switchboard import Callers
from headway.demo.tally import percentile
from headway.deployer.rollout import requests
from headway.deployer.version import version_of
from headway.format import milliseconds
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
_CRITERIA: Final = Criteria(requests=40)
_PER_SECOND: Final = 50.0
"""Faxes submitted meanwhile, by all tenants."""
_POLL: Final = 0.1
_SETTLED: Final = frozenset({"standby", "done", "rolled-back", "refused"})


@dataclass(slots=True)
class Outcome:
    """What became of one release.

    Attributes:
        version: what was released.
        wanted: the phase that it has to end in.
        phase: the one that it ended in.
        seconds: from asking until then.
        record: all that was decided.
    """

    version: str
    wanted: str
    phase: str = "not begun"
    seconds: float = 0.0
    record: RolloutRecord | None = None

    def summary(self) -> dict[str, Any]:
        """One object of plain JSON types."""
        record = self.record
        return {
            "version": self.version,
            "phase": self.phase,
            "seconds": round(self.seconds, 2),
            "taken_back_because": None if record is None else record.abort,
            "took_over": 0 if record is None else record.took_over,
            "transitions": [] if record is None else [f"{one.after}: {one.reason}" for one in record.history],
        }


class Release:
    """Two releases under load.

    Args:
        running: where to.
        config: of the version that serves; the releases differ in their lines alone.
    """

    def __init__(self, running: Installation, config: dict[str, Any]) -> None:
        self._running = running
        self._config = config
        self._store = Path(running.config.server.store)
        self._control = Control(running.bus)
        self._faxes = Faxes("release")
        self._callers = Callers(running, work.TENANTS[1:], "meanwhile")
        self._over = asyncio.Event()
        self._record: RolloutRecord | None = None
        self.outcomes = [Outcome(GOOD, "standby"), Outcome(BAD, "rolled-back")]

    async def run(self, timeout: float) -> None:
        """Build, deploy, watch; what is missing when the time is over is in the outcomes."""
        folder = _folder("headway.services.fax")
        for version, config in ((GOOD, self._config), (BAD, {**self._config, "busy_share": BAD_SHARE})):
            await asyncio.to_thread(build, folder, version=version, data_dir=self._store, config=config)
        try:
            async with self._faxes.watching(self._running.bus), self._callers.calling():
                async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                    group.create_task(self._submit())
                    try:
                        for outcome in self.outcomes:
                            await self._deploy(outcome)
                    finally:
                        self._over.set()
                async with asyncio.timeout(timeout):
                    await self._faxes.all_sent()
        except TimeoutError:
            return

    def wrong(self) -> list[str]:
        """What is not as it must be, in words."""
        problems = [
            f"the release of fax {one.version} ended at {one.phase}, not {one.wanted}"
            for one in self.outcomes
            if one.phase != one.wanted
        ]
        lost = self._faxes.submitted - len(self._faxes.sent)
        return [*problems, *([f"{lost} faxes submitted during the releases were not sent"] if lost else [])]

    def summary(self) -> dict[str, Any]:
        """One object of plain JSON types."""
        return {
            "faxes": self._faxes.submitted,
            "lost": self._faxes.submitted - len(self._faxes.sent),
            "releases": [one.summary() for one in self.outcomes],
        }

    def picture(self) -> RenderableType:
        """The rollout as it is now, and the load beside it."""
        if self._record is None:
            return Text("building images of fax v2 and v3 ...", style="bold")
        versions = {v: one for (of, v), one in self._control.versions.items() if of == "fax"}
        scales = {v: one for (of, v), one in self._control.scales.items() if of == "fax"}
        return Group(rollouts.live(self._record, versions, scales), Text(self._load(), style="dim"))

    def line(self) -> str:
        """The same in a line."""
        if self._record is None:
            return "building images of fax v2 and v3"
        weights = {v: one.weight for (of, v), one in self._control.versions.items() if of == "fax" and one.weight}
        shares = ", ".join(f"{version} {weight}%" for version, weight in sorted(weights.items()))
        return f"fax {self._record.version}: {self._record.phase}, traffic {shares}; {self._load()}"

    def _load(self) -> str:
        p95 = percentile(self._callers.recent, 0.95)
        late = "" if p95 is None else f", calls p95 {milliseconds(p95 * 1000)}"
        return f"faxes {len(self._faxes.sent)}/{self._faxes.submitted}{late}"

    async def _deploy(self, outcome: Outcome) -> None:
        began = time.monotonic()
        version = version_of(self._store.absolute(), "fax", outcome.version, pool=pool_of(self._store), grace=10)
        await self._control.refresh()
        asked = await requests.deploy(
            self._control, version, steps=_STEPS, bake=_BAKE, window=_WINDOW, criteria=_CRITERIA
        )
        while True:
            await self._control.refresh()
            kept = await self._control.get(rollout_key("fax"), RolloutRecord)
            if kept is not None and kept.value.number == asked.number:
                self._record = outcome.record = kept.value
                outcome.phase, outcome.seconds = kept.value.phase, time.monotonic() - began
                if outcome.phase in _SETTLED:
                    return
            await asyncio.sleep(_POLL)

    async def _submit(self) -> None:
        """Faxes of all tenants, one after the other, until the releases are over."""
        async with asyncio.TaskGroup() as group:
            for number, name in enumerate(work.TENANTS):
                group.create_task(self._submit_for(name, number))

    async def _submit_for(self, name: str, first: int) -> None:
        async with await self._running.broker.connect("client", tenant=name) as bus:
            client, number = bus.tenant(name), first
            while not self._over.is_set():
                await self._faxes.submit(client, number)
                number += len(work.TENANTS)
                await asyncio.sleep(len(work.TENANTS) / _PER_SECOND)


def _folder(module: str) -> Path:
    """Where a package is, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
