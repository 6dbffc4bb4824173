"""The fairness bench: what the floods of some tenants cost the others, and how tenants share the workers' time.

Quiet tenants submit jobs to a real worker at a steady rate, some of them in the lanes of the flooding tenants. Measured
is the time from a job's submission to the end of its handler, at first in quiet, then from the beginning of the floods
until they are over: so it includes the time until they are noticed and moved aside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

from nats.aio.msg import Msg

from bench import goals
from bench.app import LONG
from bench.message import SERVICE, VERSION
from bench.process import Child, child
from bench.quiet import Latencies, QuietTenants
from bench.report import Report
from bench.server import server
from bench.worker import worker
from headway.broker import queues
from headway.bus import Bus, connect
from headway.bus.nats import streams
from headway.bus.wire.beat import Beat

_PATIENCE = 300.0
_POLL = 0.05
_RATE = 200.0
"""Jobs per second of all quiet tenants together."""
_SLOTS = 32
"""At most so many jobs of one tenant are done at once while two tenants share the worker."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much the bench does.

    Attributes:
        tenants: quiet tenants.
        flooders: flooding tenants.
        flood: jobs of each of them.
        rounds: quiet and flooded phases, in turns.
        quiet_s: length of a quiet phase in seconds.
        shares_s: seconds for which the shares of two tenants are measured.
        drain: jobs that are drained for the throughput.
        drains: how often, in turns with and without sidelining.
    """

    tenants: int
    flooders: int
    flood: int
    rounds: int
    quiet_s: float
    shares_s: float
    drain: int
    drains: int


QUICK = Size(tenants=8, flooders=1, flood=2_000, rounds=1, quiet_s=0.5, shares_s=1.0, drain=1_000, drains=1)
USUAL = Size(tenants=40, flooders=3, flood=8_000, rounds=2, quiet_s=4.0, shares_s=10.0, drain=15_000, drains=3)


async def measure(size: Size, work_s: float) -> Report:
    """Run the bench.

    Args:
        size: how much it does.
        work_s: how long each job takes, waiting as for I/O, in seconds.
    """
    busy = await _floods(size, work_s)
    empty = await _floods(size, 0.0)
    share_error = await _share_error(size.shares_s)
    plain, moved = [], []
    for _ in range(size.drains):
        plain.append(await _drain(size.drain, neighbours=False))
        moved.append(await _drain(size.drain, neighbours=True))
    values = {
        goals.WORST_TENANT: median(busy.worst),
        goals.WORST_TENANT_EMPTY: median(empty.worst),
        goals.SHARE_ERROR: share_error,
        goals.THROUGHPUT: median(aside / alone for aside, alone in zip(moved, plain, strict=True)),
    }
    flooded = f"{size.flooders} tenants flood {size.flood} jobs of {work_s * 1e3:g} ms each"
    return Report(
        bench="fairness",
        title=f"job latencies of {size.tenants} quiet tenants while {flooded}, {size.rounds} rounds",
        unit="ratio",
        values=values,
        rounds={goals.WORST_TENANT: busy.worst, goals.WORST_TENANT_EMPTY: empty.worst},
        ratios={},
        details={
            "quiet_p99_ms": median(busy.quiet_ms),
            "flooded_p99_ms": median(busy.flooded_ms),
            "quiet_p99_ms_empty_jobs": median(empty.quiet_ms),
            "flooded_p99_ms_empty_jobs": median(empty.flooded_ms),
            "pooled_ratio": median(busy.pooled),
            "pooled_ratio_empty_jobs": median(empty.pooled),
            "flood_jobs_per_s": median(busy.rates),
            "plain_jobs_per_s": median(plain),
            "moved_jobs_per_s": median(moved),
        },
        headline=values,
        verdicts=goals.judge(goals.FAIR, values),
    )


@dataclass(slots=True)
class _Floods:
    """What the rounds of one kind of job have shown: ratios to the quiet p99, and milliseconds."""

    worst: list[float]
    pooled: list[float]
    quiet_ms: list[float]
    flooded_ms: list[float]
    rates: list[float]

    def add(self, quiet: Latencies, flooded: Latencies, rate: float) -> None:
        self.worst.append(flooded.worst() / quiet.p99())
        self.pooled.append(flooded.p99() / quiet.p99())
        self.quiet_ms.append(quiet.p99() * 1e3)
        self.flooded_ms.append(flooded.p99() * 1e3)
        self.rates.append(rate)


async def _floods(size: Size, work_s: float) -> _Floods:
    """Measure the quiet tenants with and without floods."""
    found = _Floods([], [], [], [], [])
    loud = [f"flood-{n}" for n in range(size.flooders)]
    async with _service() as (url, bus), child("bench.flood", url) as flooder, worker(bus.nc, url, work_s):
        quiet = QuietTenants(bus.nc, size.tenants, _RATE)
        async with quiet.listening():
            await quiet.submit(_after(size.quiet_s / 2))  # warm up
            for _ in range(size.rounds):
                calm = await quiet.submit(_after(size.quiet_s))
                began = time.perf_counter()
                gone = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    group.create_task(_flood(bus, flooder, loud, size.flood, gone))
                    stormy = await quiet.submit(gone)
                found.add(calm, stormy, size.flood * size.flooders / (time.perf_counter() - began))
    return found


async def _flood(bus: Bus, flooder: Child, tenants: Sequence[str], count: int, gone: asyncio.Event) -> None:
    """Start the floods; set `gone` when their backlog is almost drained and the worker will soon be idle."""
    try:
        await flooder.ask({"tenants": tenants, "count": count}, _PATIENCE)
        await _until_left(bus, count * len(tenants) // 50)
    finally:
        gone.set()
    await _until_left(bus, 0)


async def _share_error(seconds: float) -> float:
    """Return by how much the shares of two tenants of equal weight are off, whose jobs take short and long.

    1 means that one of them gets everything.
    """
    short = 0.005
    async with _service() as (url, bus), child("bench.flood", url) as flooder, worker(bus.nc, url, short):
        beats: list[Beat] = []

        async def on_beat(message: Msg) -> None:
            beats.append(Beat.model_validate_json(message.data))

        await bus.nc.subscribe(f"beat.{SERVICE}.{VERSION}.*", cb=on_beat)
        count = int(_SLOTS * seconds / short)  # more than can be done
        await flooder.ask({"tenants": ["long"], "count": count // LONG, "operation": "long"}, _PATIENCE)
        await flooder.ask({"tenants": ["short"], "count": count}, _PATIENCE)
        await asyncio.sleep(seconds)
        busy = beats[-1].busy
        times = [busy.get("short", 0.0), busy.get("long", 0.0)]
        return abs(times[0] - times[1]) / sum(times)


async def _drain(count: int, *, neighbours: bool) -> float:
    """Return the jobs per second with which a worker drains the jobs of one tenant.

    Args:
        count: jobs.
        neighbours: whether another tenant has used the lane, so that the jobs are moved aside first.
    """
    async with _service() as (url, bus), child("bench.flood", url) as flooder, worker(bus.nc, url, 0.0):
        if neighbours:
            await flooder.ask({"tenants": [f"quiet-{n}" for n in range(64)], "count": 1}, _PATIENCE)
            await _until_left(bus, 0)
        began = time.perf_counter()
        await flooder.ask({"tenants": ["flood-0"], "count": count}, _PATIENCE)
        await _until_left(bus, 0)
        return count / (time.perf_counter() - began)


@asynccontextmanager
async def _service() -> AsyncIterator[tuple[str, Bus]]:
    """Start a fresh server with the queues of the bench's service."""
    async with server() as url, await connect(url) as bus, queues.served(bus):
        await streams.provision(bus.js)
        yield url, bus


def _after(seconds: float) -> asyncio.Event:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


async def _until_left(bus: Bus, count: int) -> None:
    """Wait until at most so many jobs are left."""
    async with asyncio.timeout(_PATIENCE):
        while (await bus.js.stream_info(streams.jobs_stream(SERVICE))).state.messages > count:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)
