"""The projector: keeps the console's objects up to date. Of several replicas one acts, by lease.

It writes with compare-and-set: one that was believed dead overwrites nothing, and reads the rows again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.wire.subjects import CONSOLE
from headway.console.changes import Write, changes
from headway.console.observe import Observer
from headway.console.project import Name, points, project
from headway.console.rows import TYPES
from headway.console.trends import Trends
from headway.control.controller import Controller

PERIOD: Final = 1.0
"""Seconds between two snapshots."""
PULSE: Final = 10.0
"""Seconds between two pulses."""
MOST: Final = 300
"""Most rows written per snapshot; the rest follows with the next ones."""
_AT_ONCE: Final = 16
_TIMEOUT: Final = 30.0
"""Time limit of a round in seconds."""


class Projector(Controller):
    """One projector.

    Args:
        broker: of the installation, with its keys.
        bus: a connection in the role operator.
        holder: name of this contender, for the lease.
        period: seconds between two snapshots.
    """

    def __init__(self, broker: Broker, bus: Bus, *, holder: str, period: float = PERIOD) -> None:
        super().__init__(bus, "console", holder=holder, period=period, timeout=_TIMEOUT)
        self._observer = Observer(broker, bus, self.fleet)
        self._objects = bus.records.tenant(CONSOLE).objects
        self._holder = holder
        self._written: dict[Name, tuple[dict[str, Any], int]] = {}
        self._epoch = 0
        self._trends = Trends()
        self._pulsed = 0.0
        self.writes = 0
        """Rows written so far, without pulses."""

    def beside(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Record what is heard, leading or not."""
        return (self._listen(),)

    async def _listen(self) -> None:
        """Record what is heard even while another projector leads, to be ready to take over."""
        while True:
            self._observer.note()
            await asyncio.sleep(self.period)

    async def reconcile(self) -> None:
        """Take a snapshot, and write the rows that have changed.

        Raises:
            HeadwayError: if something cannot be read or written.
        """
        if self._epoch != (epoch := self.lease.epoch):  # another projector may have written before
            self._written = await self._read()
            self._epoch = epoch
            kept = {name: value for (kind, name), (value, _) in self._written.items() if kind == "trend"}
            self._trends = Trends(kept)
        seen = await self._observer.look()
        rows = project(replace(seen, usual=self._trends.usual_failures()))
        now = time.monotonic()
        self._trends.note(now, points(rows))
        rows |= {("trend", service): lines for service, lines in self._trends.rows().items()}
        before = {name: value for name, (value, _) in self._written.items() if name[0] != "pulse"}
        await self._write(changes(before, rows)[:MOST])
        if now - self._pulsed >= PULSE:
            await self._objects.put("pulse", "projector", {"at": round(time.time()), "holder": self._holder})
            self._pulsed = now

    async def _read(self) -> dict[Name, tuple[dict[str, Any], int]]:
        """Read the rows as they are stored, with their revisions."""
        found: dict[Name, tuple[dict[str, Any], int]] = {}
        for kind in TYPES:
            for one in await self._objects.list(kind, dict[str, Any]):
                found[kind, one.id] = (one.value, one.revision)
        return found

    async def _write(self, writes: Sequence[Write]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(write: Write) -> None:
            (kind, id_), value = write.name, write.value
            known = self._written.get(write.name)
            expect = known[1] if known else None
            async with slots:
                if not self.lease.held:
                    return
                if value is None:
                    await self._objects.delete(kind, id_, expect=expect)
                    del self._written[write.name]
                else:
                    self._written[write.name] = (value, await self._objects.put(kind, id_, value, expect=expect))
                self.writes += 1

        outcomes = await asyncio.gather(*map(one, writes), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failed:
            self._epoch = 0  # the stored row is unknown now: read it again
            raise failed[0]
