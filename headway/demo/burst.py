"""The second act: one tenant submits a burst of faxes. Workers grow and shrink; the others' calls continue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from headway.bus import tasks
from headway.demo import work
from headway.demo.outbox import Faxes
from headway.demo.progress import DemoProgress
from headway.demo.switchboard import Callers
from headway.demo.tally import milliseconds, percentile
from headway.demo.watch import DemoWatch
from headway.installation import Installation

_QUIET: Final = 2.0
"""Seconds of calls alone, for comparison."""
_AT_ONCE: Final = 64
_SHRINKS: Final = 6.0
"""Seconds after the burst in which workers are stopped because of it."""
_POLL: Final = 0.05


@dataclass(slots=True)
class BurstResult:
    """The result of the burst.

    Attributes:
        faxes: submitted.
        sent: went out.
        seconds: from the first submission until none was left.
        workers_before, workers_peak, workers_after: of the service `fax`.
        calls: requests of the other tenants meanwhile; `quiet` and `busy` are their latencies in seconds.
        reasons: why workers were started and stopped.
    """

    faxes: int = 0
    sent: int = 0
    seconds: float = 0.0
    workers_before: int = 0
    workers_peak: int = 0
    workers_after: int = 0
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """Return what failed, in words."""
        problems = []
        if self.sent < self.faxes:
            problems.append(f"{self.faxes - self.sent} faxes of the burst were not sent")
        if self.workers_peak <= self.workers_before:
            problems.append(f"the burst was worked on by no more than {self.workers_peak} fax workers")
        if self.workers_after >= self.workers_peak:
            problems.append(f"after the burst {self.workers_after} fax workers were left")
        return problems

    def summary(self) -> dict[str, Any]:
        """Return one object of plain JSON types."""
        return {
            "faxes": self.faxes,
            "lost": self.faxes - self.sent,
            "seconds": round(self.seconds, 2),
            "workers": [self.workers_before, self.workers_peak, self.workers_after],
            "calls_p95_ms_before": milliseconds(percentile(self.quiet, 0.95)),
            "calls_p95_ms_during": milliseconds(percentile(self.busy, 0.95)),
            "calls": len(self.quiet) + len(self.busy),
            "reasons": self.reasons,
        }


class Burst:
    """A burst.

    Args:
        running: the installation.
        watch: sees the workers.
        progress: receives what to show.
        faxes: their number.

    Attributes:
        result: the result so far.
    """

    def __init__(self, running: Installation, watch: DemoWatch, progress: DemoProgress, faxes: int) -> None:
        self._running = running
        self._watch = watch
        self._progress = progress
        self._faxes = Faxes("burst", progress)
        self._callers = Callers(running, work.TENANTS[1:], "during", progress)
        self._began = self._ended = time.time()
        self.result = BurstResult(faxes=faxes)

    async def run(self) -> None:
        """Submit the burst and wait until all faxes are sent. Raises the clients' errors."""
        result, watch = self.result, self._watch
        self._began = time.time()
        self._progress.act = "calls alone, for comparison"
        try:
            async with self._faxes.watching(self._running.bus), self._callers.calling():
                await asyncio.sleep(_QUIET)
                result.workers_before = len(watch.serving("fax"))
                watch.peak["fax"] = result.workers_before
                result.quiet = self._callers.take()
                await self._flood()
                result.busy = self._callers.take()
        finally:
            result.workers_peak = watch.peak.get("fax", 0)
            result.sent = len(self._faxes.sent)
            self._ended = time.time()

    async def shrunk(self) -> None:
        """Wait until the burst's workers begin to stop."""
        result, watch = self.result, self._watch
        self._progress.act = "the burst is over, its workers are stopping"
        try:
            while len(watch.serving("fax")) >= result.workers_peak:  # noqa: ASYNC110  # heartbeats set no event
                await asyncio.sleep(_POLL)
        finally:
            result.workers_after = len(watch.serving("fax"))
            decisions = [one for one in watch.decisions("fax") if self._began < one.at < self._ended + _SHRINKS]
            result.reasons = [f"{one.before} -> {one.desired}: {one.reason}" for one in decisions]

    async def _flood(self) -> None:
        name, turn = work.TENANTS[0], asyncio.Semaphore(_AT_ONCE)
        self._progress.act = f"{name} submits {self.result.faxes:,} faxes at once; the others keep calling"
        self._progress.say(f"{name} submits {self.result.faxes:,} faxes at once")
        start = time.monotonic()
        async with await self._running.broker.connect("client", tenant=name) as bus:
            client = bus.tenant(name)

            async def one(number: int) -> None:
                async with turn:
                    await self._faxes.submit(client, number)

            async with tasks.group() as group:
                for number in range(self.result.faxes):
                    group.create_task(one(number))
        await self._faxes.all_sent()
        self.result.seconds = time.monotonic() - start
