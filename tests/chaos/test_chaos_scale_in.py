"""Workers that leave in the middle of a flood of work: nothing is interrupted, nothing is delivered twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from headway import Context, Service, Worker
from headway.control.records import Scale
from tests.support.scaling import DEADLINE

SCALE_INS = 1_000
AT_ONCE = 12
"""Workers that come and go beside each other; each one's end is a scale-in."""


class Load:
    """Submits jobs without a pause, so many not yet done at a time, and counts how often each is run."""

    def __init__(self, bus, outstanding: int) -> None:
        self.bus = bus
        self.outstanding = outstanding
        self.submitted = 0
        self.runs: Counter[int] = Counter()
        self.attempts: Counter[int] = Counter()
        self.finished = 0
        self.interrupted = 0

    async def run(self, request: int, ctx: Context) -> None:
        self.runs[request] += 1
        self.attempts[ctx.attempt] += 1
        try:
            await asyncio.sleep(0.05 * (request % 5))
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        self.finished += 1

    @asynccontextmanager
    async def flowing(self):
        stop = asyncio.Event()

        async def submit() -> None:
            while not stop.is_set():
                if self.submitted - self.finished >= self.outstanding:
                    await asyncio.sleep(0.001)
                    continue
                n, self.submitted = self.submitted, self.submitted + 1
                await self.bus.submit("app", "work", n, tenant=f"t{n % 40}", timeout=30)

        tasks = [asyncio.ensure_future(submit()) for _ in range(8)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)


@pytest.mark.timeout(300)
async def test_a_thousand_scale_ins_under_load_interrupt_and_redeliver_nothing(bus, until):
    # More slots than there is ever work: nothing is handed back for want of one, so each redelivery is a scale-in's.
    app = Service("app", concurrency=512)
    load = Load(bus, outstanding=400)
    app.job("work", timeout=60)(load.run)
    busy = Counter[bool]()

    async def come_and_go(count: int) -> None:
        for _ in range(count):
            connection = await bus.broker.connect("worker", service="app")
            async with connection, Worker(app, connection, grace=30) as worker:
                await until(lambda worker=worker: worker.counters.processed or worker.beat().in_hand, DEADLINE)
                busy[worker.beat().in_hand > 0] += 1

    async with bus.serving(app), load.flowing():
        shares = [SCALE_INS // AT_ONCE + (n < SCALE_INS % AT_ONCE) for n in range(AT_ONCE)]
        await asyncio.gather(*(come_and_go(share) for share in shares))
    async with bus.serving(app):

        async def done() -> bool:
            return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0

        await until(done)
    consumers = await bus.bus.js.consumers_info("JOBS_app")
    deliveries = sum(one.delivered.consumer_seq for one in consumers)
    print(f"{busy.total()} scale-ins, {busy[True]} of busy workers, {load.submitted} jobs, {deliveries} deliveries")
    assert busy.total() == SCALE_INS
    assert busy[True] > SCALE_INS // 4, "too few of them had anything in hand: it shows nothing"
    assert load.interrupted == 0
    assert load.runs == Counter(range(load.submitted)), "each job was run once"
    assert load.attempts == {1: load.submitted}
    assert deliveries == load.submitted, "nothing was delivered twice"


SOURCE = """
import asyncio, os
from pydantic import BaseModel
from headway import Context, Service

app = Service("app", ack_wait=30, concurrency=512)
runs = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("work", timeout=60)
async def work(request: int, ctx: Context) -> None:
    os.write(runs, b"%d %d\\n" % (request, ctx.attempt))
    await asyncio.sleep(0.05 * (request % 5))
"""
ROUNDS, FEW, MANY = 12, 1, 7


async def test_processes_that_the_scaler_stops_under_load_interrupt_and_redeliver_nothing(fleet, tmp_path):
    await fleet.declare(Scale.fixed(FEW), SOURCE, grace=30)
    await fleet.scaler()
    await fleet.serving(FEW)
    before, ended = fleet.workers(), 0
    submitted, stop = 0, asyncio.Event()

    async def submit() -> None:
        nonlocal submitted
        while not stop.is_set():
            n, submitted = submitted, submitted + 1
            await fleet.bus.submit("app", "work", n, tenant=f"t{n % 40}", timeout=30)
            await asyncio.sleep(0.02)

    submitting = [asyncio.ensure_future(submit()) for _ in range(4)]
    for _ in range(ROUNDS):
        await fleet.declare(Scale.fixed(MANY))
        await fleet.serving(MANY)
        many = fleet.workers()
        assert before.keys() <= many.keys(), "the oldest stay"
        await fleet.declare(Scale.fixed(FEW))
        await fleet.count(FEW)
        ended += len(many) - FEW
        before = fleet.workers()
        assert before.keys() <= many.keys()
    stop.set()
    await asyncio.gather(*submitting)
    await fleet.empty()
    deliveries = sum(one.delivered.consumer_seq for one in await fleet.bus.js.consumers_info("JOBS_app"))
    runs = Counter((tmp_path / "runs").read_text().splitlines())
    print(f"{ended} processes stopped, {submitted} jobs, {deliveries} deliveries")
    assert runs == Counter(f"{n} 1" for n in range(submitted)), "each job was run once"
    assert deliveries == submitted, "nothing was delivered twice"
    assert (await fleet.record()).deaths == 0
