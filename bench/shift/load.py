"""The load of the shift bench, in its own process: callers and submitters that never pause for a release.

Times are `time.perf_counter()`: on one machine all processes share that clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bench import process
from headway.bus import Bus, connect
from headway.bus.errors import HeadwayError

SERVICE: Final = "bench-shift"
CALLERS: Final = 16
SUBMITTERS: Final = 4
_PAUSE: Final = 0.01
"""Seconds between a caller's calls.

The bench measures the release, not the wait for a core, so the load stays below what two cores carry beside
server, workers and controllers.
"""
_TENANTS: Final = 40
_SETTLE: Final = 0.05


class Load:
    """The whole load and its results."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._calls: list[tuple[float, str]] = []
        self.answered = self.failed = 0
        self.errors: Counter[str] = Counter()
        self.submitted = 0
        self.stop = asyncio.Event()

    async def call(self, n: int) -> None:
        """Call again and again."""
        while not self.stop.is_set():
            sent = time.perf_counter()
            try:
                version = await self._bus.call(SERVICE, "who", {}, tenant=f"tenant-{n % _TENANTS}", timeout=10)
                self._calls.append((sent, version))
                self.answered += 1
            except HeadwayError as error:
                self.failed += 1
                self.errors[str(error)] += 1
            await asyncio.sleep(_PAUSE)

    async def submit(self, n: int) -> None:
        """Submit again and again, each job until it is stored."""
        while not self.stop.is_set():
            number, self.submitted = self.submitted, self.submitted + 1
            tenant = f"tenant-{number % _TENANTS}"
            await self._bus.submit(SERVICE, "work", {"n": number}, tenant=tenant, key=f"job-{number}", timeout=60)
            await asyncio.sleep(_PAUSE * 2 + n * 1e-4)

    def shares(self, begin: float, end: float) -> Mapping[str, int]:
        """Count which versions answered the calls sent between two times."""
        return Counter(version for sent, version in self._calls if begin <= sent < end)

    def stale(self, since: float, version: str) -> float:
        """Return for how many seconds after a time calls still went to a version."""
        return max((sent - since for sent, answered in self._calls if sent >= since and answered == version), default=0)

    def forget(self) -> None:
        """Discard the calls so far."""
        self._calls.clear()


async def main(url: str, creds: str) -> None:
    """Carry out the bench's orders."""
    async with await connect(url, creds=creds, name="load") as bus:
        load = Load(bus)
        tasks = [asyncio.ensure_future(load.call(n)) for n in range(CALLERS)]
        tasks += [asyncio.ensure_future(load.submit(n)) for n in range(SUBMITTERS)]
        async for order in process.orders():
            await asyncio.sleep(_SETTLE)  # calls sent before the order have been answered by then
            process.say(await _answer(load, order, tasks))


async def _answer(load: Load, order: dict[str, Any], tasks: list[asyncio.Task[None]]) -> Any:
    match order:
        case {"shares": [begin, end]}:
            return load.shares(begin, end)
        case {"stale": version, "since": since}:
            return load.stale(since, version)
        case {"forget": True}:
            return load.forget()
    load.stop.set()
    await asyncio.gather(*tasks)
    counts = {"calls": load.answered, "failed": load.failed, "submitted": load.submitted}
    return {**counts, "errors": dict(load.errors)}


if __name__ == "__main__":
    process.run(main, *sys.argv[1:])
