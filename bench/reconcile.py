"""The reconcile bench: what one round of the scaler costs, by number of services.

A private server holds the job queue of each service, with the 16 lane consumers of its version; each service has one
worker, which beats once a second. A real scaler manages them, with a driver that only keeps a list: this bench does
not measure starting and stopping. It measures whole rounds, first with empty queues, then with a job waiting in every
lane.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from statistics import median

from bench import goals
from bench.report import Report
from headway.broker import testing
from headway.bus.client.bus import Bus
from headway.bus.nats import streams
from headway.bus.nats.streams import jobs_stream
from headway.bus.tasks import end
from headway.bus.wire import subjects
from headway.bus.wire.beat import INTERVAL, Beat, Counters
from headway.control.records import Lag, Scale, ServiceRecord, VersionRecord
from headway.control.store import Control, service_key, version_key
from headway.scaler.controller import Scaler
from headway.scaler.drivers.driver import ExitedWorker, Launch, RunningWorker

_VERSION = "v1"
_PERIOD = 0.05
_SETUP_AT_ONCE = 32
_SETTLE = 5
"""Rounds at the start that are not measured: the first writes the records, the next ones read them."""


class ListDriver:
    """A driver that keeps a list; see `headway.scaler.drivers.driver.Driver`."""

    def __init__(self) -> None:
        self.running: dict[str, RunningWorker] = {}

    async def prepare(self, launch: Launch) -> None:
        """Do nothing: the list needs no preparation."""

    async def keep(self, launches: Collection[Launch], fence: int) -> None:
        """Do nothing: the list keeps nothing ready."""

    async def lead(self, fence: int) -> None:
        """Do nothing: there is only one leader."""

    async def list(self) -> list[RunningWorker]:
        """Return the list."""
        return [*self.running.values()]

    async def spawn(self, launch: Launch, worker: str, fence: int) -> RunningWorker:  # noqa: ARG002
        """Add a worker to the list."""
        made = self.running[worker] = RunningWorker(worker, launch.service, launch.version, time.time(), os.getpid())
        return made

    async def stop(self, worker: str, fence: int, *, kill: bool = False) -> None:  # noqa: ARG002
        """Remove a worker from the list."""
        self.running.pop(worker, None)

    async def exits(self) -> AsyncIterator[ExitedWorker]:
        """Report no exits."""
        await asyncio.Event().wait()
        yield ExitedWorker("", "", "", None)

    async def close(self) -> None:
        """Release nothing."""


async def measure(sizes: tuple[int, ...], rounds: int) -> Report:
    """Run the bench.

    Args:
        sizes: numbers of services, growing.
        rounds: measured rounds of each size.
    """
    quiet: dict[int, list[float]] = {}
    busy: dict[int, list[float]] = {}
    for size in sizes:
        async with testing.start() as bus:
            names = [f"service-{n}" for n in range(size)]
            await _declare(bus.bus, names)
            async with _scaling(bus) as (controller, driver):
                await _served(driver, size)
                quiet[size] = await _rounds(controller, rounds)
                await bus.broker.set_routes({name: {_VERSION: 100} for name in names})
                await _fill(bus.bus, names)
                busy[size] = await _rounds(controller, rounds)
    most, least = max(sizes), min(sizes)
    growth = math.log(median(busy[most]) / median(busy[least])) / math.log(most / least)
    values = {goals.RECONCILE: median(busy[most]) * 1e3, goals.GROWTH: growth}
    return Report(
        bench="reconcile",
        title=f"one round over {', '.join(map(str, sizes))} services with {subjects.LANES} lanes each, {rounds} rounds",
        unit="ms",
        values=values,
        rounds={
            f"{size} services, {kind} (ms)": [one * 1e3 for one in found]
            for kind, by_size in (("quiet", quiet), ("busy", busy))
            for size, found in by_size.items()
        },
        ratios={},
        verdicts=goals.judge(goals.ROUND, values),
        details={
            f"{size} services": {"quiet_ms": median(quiet[size]) * 1e3, "busy_ms": median(busy[size]) * 1e3}
            for size in sizes
        },
        below="\n".join(
            f"{size} services: {median(quiet[size]) * 1e3:.0f} ms while nothing waits, "
            f"{median(busy[size]) * 1e3:.0f} ms while each lane holds something"
            for size in sizes
        ),
    )


async def _declare(bus: Bus, names: list[str]) -> None:
    """Create queues, consumers and control records."""
    control, gate = Control(bus), asyncio.Semaphore(_SETUP_AT_ONCE)

    async def declare(name: str) -> None:
        async with gate:
            await streams.ensure(bus.js, streams.jobs(name, 1 << 20, 100))
            for lane in range(subjects.LANES):
                consumer = streams.lane(name, _VERSION, lane, 30.0)
                await streams.ensure_consumer(bus.js, jobs_stream(name), consumer)
            scale = Scale(min=1, max=1, lag=Lag())
            await control.put(service_key(name), ServiceRecord(service=name, scale=scale))
            version = VersionRecord(service=name, version=_VERSION, app="app:app", root="", weight=100)
            await control.put(version_key(name, _VERSION), version)

    await asyncio.gather(*(declare(name) for name in names))


@asynccontextmanager
async def _scaling(bus: testing.TestBus) -> AsyncIterator[tuple[Scaler, ListDriver]]:
    """Run a scaler, and send the heartbeats of its workers."""
    driver, stop = ListDriver(), asyncio.Event()
    async with await bus.broker.connect("control") as connection:
        controller = Scaler(connection, driver, _launch, holder="bench", period=_PERIOD)
        running = asyncio.ensure_future(controller.run(stop))
        beating = asyncio.ensure_future(_beat(bus.bus, driver))
        try:
            yield controller, driver
        finally:
            stop.set()
            await running
            await end([beating])


def _launch(version: VersionRecord) -> Launch:
    return Launch(version.service, version.version, version.app, version.root)


async def _beat(bus: Bus, driver: ListDriver) -> None:
    """Send a heartbeat for every listed worker, spread evenly over each second as real workers would."""
    counters, began = Counters(), time.time()
    while True:
        everyone = [*driver.running.values()]
        due = time.monotonic() + INTERVAL
        for one in everyone:
            beat = Beat(
                service=one.service,
                version=one.version,
                worker=one.worker,
                host="bench",
                pid=one.pid,
                started=began,
                at=time.time(),
                state="serving",
                rpc_inflight=0,
                in_hand=0,
                oldest_s=0.0,
                processed=0,
                failed=0,
                rejected=0,
                retried=0,
                dead=0,
                shed=0,
                cpu_s=0.0,
                rss_bytes=0,
                loop_lag_s=0.0,
                healthy=True,
                slots=16,
                limit=16,
                latency={kind: found.counts for kind, found in counters.latency.items()},
            )
            await bus.publish(subjects.beat(one.service, one.version, one.worker), beat.model_dump_json().encode())
            await asyncio.sleep(INTERVAL / len(everyone) / 2)
        await asyncio.sleep(max(0.01, due - time.monotonic()))


async def _served(driver: ListDriver, count: int) -> None:
    async with asyncio.timeout(60):
        while len(driver.running) < count:  # noqa: ASYNC110  # the list sets no event
            await asyncio.sleep(_PERIOD)


async def _rounds(controller: Scaler, count: int) -> list[float]:
    """Return the duration of each of the next rounds."""
    took: list[float] = []
    skip, last = controller.rounds + _SETTLE, controller.rounds
    async with asyncio.timeout(120):
        while len(took) < count:
            await asyncio.sleep(_PERIOD / 10)
            if controller.rounds != last:
                last = controller.rounds
                if last > skip:
                    took.append(controller.took)
    return took


async def _fill(bus: Bus, names: list[str]) -> None:
    """Submit a job to each lane, using the server's mapping of tenants to lanes."""
    gate = asyncio.Semaphore(_SETUP_AT_ONCE)

    async def fill(name: str) -> None:
        async with gate:
            for tenant in range(2 * subjects.LANES):
                await bus.submit(name, "work", {}, tenant=f"tenant-{tenant}")

    await asyncio.gather(*(fill(name) for name in names))
