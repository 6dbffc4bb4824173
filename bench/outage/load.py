"""A steady load, and what it notices of an outage."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.tasks import end

SERVICE: Final = "bench-outage"
CALLERS: Final = 8
SUBMITTERS: Final = 4
PAUSE: Final = 0.02
"""Seconds between two calls or submissions of one caller or submitter."""
CALL_TIMEOUT: Final = 1.0
SUBMIT_TIMEOUT: Final = 30.0


@dataclass(slots=True)
class Seen:
    """What callers and submitters observed.

    Attributes:
        failed: calls without a result, by the kind of their error.
        calls: results of calls, as times on a steady clock.
        acks: acknowledgements of jobs, likewise.
        refused: submissions that failed for good.
    """

    failed: dict[str, int] = field(default_factory=dict)
    calls: list[float] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    refused: int = 0


def gap(times: list[float], since: float) -> float:
    """Return the longest time without an event since a moment, in seconds."""
    return max(after - before for before, after in itertools.pairwise([since, *times, time.monotonic()]))


class Load:
    """Callers and submitters that never stop; `seen` is what they observed since it was last replaced."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._number = itertools.count()
        self.seen = Seen()
        self.accepted: list[str] = []

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[Load]:
        """Keep the load running inside the block."""
        tasks = [asyncio.ensure_future(self._call()) for _ in range(CALLERS)]
        tasks += [asyncio.ensure_future(self._submit(f"tenant-{n}")) for n in range(SUBMITTERS)]
        try:
            yield self
        finally:
            await end(tasks)

    async def _call(self) -> None:
        while True:
            try:
                await self._bus.call(SERVICE, "echo", next(self._number), tenant="acme", timeout=CALL_TIMEOUT)
                self.seen.calls.append(time.monotonic())
            except HeadwayError as error:
                self.seen.failed[error.code] = self.seen.failed.get(error.code, 0) + 1
            await asyncio.sleep(PAUSE)

    async def _submit(self, tenant: str) -> None:
        while True:
            key = f"k{next(self._number)}"
            try:
                await self._bus.submit(SERVICE, "work", key, tenant=tenant, key=key, timeout=SUBMIT_TIMEOUT)
                self.accepted.append(key)
                self.seen.acks.append(time.monotonic())
            except HeadwayError:
                self.seen.refused += 1
            await asyncio.sleep(PAUSE)
