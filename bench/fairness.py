"""The fairness bench: what one tenant's flood costs another tenant in a different lane.

A quiet tenant submits a job every few milliseconds to a real worker; measured is the time from its submission to
the end of its handler. Then another tenant floods the queue, and the same is measured until its backlog is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from nats.aio.msg import Msg

from bench import goals
from bench.message import SERVICE
from bench.numbers import quantile
from bench.process import Child, child
from bench.report import Report
from bench.server import server
from bench.worker import worker
from headway.bus import Bus, connect
from headway.bus.nats import streams
from headway.bus.wire.subjects import parse_job

_PATIENCE = 120.0
_INTERVAL = 0.005
_POLL = 0.05
_FLOODER = "flooder"


class Prober:
    """The quiet tenant."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self._bus = bus
        self._tenant = tenant
        self._sent = 0
        self._samples: list[float] = []
        self._more = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Collect the reported latencies of its jobs."""

        async def on_sample(message: Msg) -> None:
            self._samples.append(float(message.data))
            self._more.set()

        subscription = await self._bus.nc.subscribe(f"{SERVICE}.took", cb=on_sample)
        yield
        await subscription.unsubscribe()

    async def probe(self, until: asyncio.Event) -> list[float]:
        """Submit a job at each interval until stopped; return the latency of each in seconds once all are done."""
        self._samples.clear()
        sent = 0
        due = time.perf_counter()
        while not until.is_set() or not sent:
            await self._bus.submit(SERVICE, "probe", {"sent": time.perf_counter()}, tenant=self._tenant)
            sent += 1
            due = max(due + _INTERVAL, time.perf_counter())
            await asyncio.sleep(due - time.perf_counter())
        async with asyncio.timeout(_PATIENCE):
            while len(self._samples) < sent:
                self._more.clear()
                await self._more.wait()
        return list(self._samples)


async def measure(flood: int, rounds: int, work_s: float, quiet_s: float) -> Report:
    """Run the bench.

    Args:
        flood: jobs that the flooding tenant has queued at once.
        rounds: quiet and flooded phases, in turns.
        work_s: how long each job takes, waiting as for I/O, in seconds.
        quiet_s: length of a quiet phase in seconds.
    """
    quiet: list[float] = []
    flooded: list[float] = []
    seconds: list[float] = []
    async with server() as url, await connect(url) as bus:
        await streams.provision(bus.js)
        await streams.ensure(bus.js, streams.jobs(SERVICE, queue_bytes=1 << 30, queue_per_subject=250_000))
        tenant = await _tenant_of_another_lane(bus)
        prober = Prober(bus, tenant)
        async with child("bench.flood", url) as flooder, worker(bus.nc, url, work_s), prober.listening():
            await _empty(bus)
            await prober.probe(_after(quiet_s / 2))  # warm up
            for _ in range(rounds):
                quiet.append(quantile(await prober.probe(_after(quiet_s)), 0.99) * 1e3)
                began = time.perf_counter()
                gone = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    group.create_task(_flood(bus, flooder, flood, gone))
                    samples = await prober.probe(gone)
                seconds.append(time.perf_counter() - began)
                flooded.append(quantile(samples, 0.99) * 1e3)
    ratio = median(loud / calm for loud, calm in zip(flooded, quiet, strict=True))
    return Report(
        bench="fairness",
        title=f"one tenant's job latency while another one floods {flood} jobs of {work_s * 1e3:g} ms, {rounds} rounds",
        unit="p99 ms / ratio",
        values={"quiet": median(quiet), "flooded": median(flooded), goals.FAIRNESS: ratio},
        rounds={"quiet": quiet, "flooded": flooded},
        ratios={goals.FAIRNESS: ratio},
        details={"flood_jobs_per_s": median(flood / took for took in seconds)},
        verdicts=goals.judge(goals.FAIR, {goals.FAIRNESS: ratio}),
    )


def _after(seconds: float) -> asyncio.Event:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


async def _flood(bus: Bus, flooder: Child, count: int, gone: asyncio.Event) -> None:
    """Start the flood; set `gone` when its backlog is almost drained and the worker will soon be idle."""
    try:
        await flooder.ask({"tenant": _FLOODER, "count": count}, _PATIENCE)
        async with asyncio.timeout(_PATIENCE):
            while (await bus.js.stream_info(streams.jobs_stream(SERVICE))).state.messages > count // 50:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
    finally:
        gone.set()
    await _empty(bus)


async def _empty(bus: Bus) -> None:
    async with asyncio.timeout(_PATIENCE):
        while (await bus.js.stream_info(streams.jobs_stream(SERVICE))).state.messages:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)


async def _tenant_of_another_lane(bus: Bus) -> str:
    """Ask the server for a tenant that it maps to another lane than the flooding tenant."""

    async def lane(tenant: str) -> str:
        receipt = await bus.submit(SERVICE, "probe", {"sent": time.perf_counter()}, tenant=tenant)
        stored = await bus.js.get_msg(receipt.stream, receipt.seq)
        assert stored.subject is not None
        return str(parse_job(stored.subject).lane)

    taken = await lane(_FLOODER)
    number = 0
    while await lane(tenant := f"quiet-{number}") == taken:
        number += 1
    return tenant
