"""The scaler heals: each kind of sick worker is found, replaced first, drained then, and killed if it has to be."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from headway.control.records import Scale
from headway.scaler.restarts import STEADY

SOURCE = """
import asyncio, os, time
from pathlib import Path
from pydantic import BaseModel
from headway import Context, Service

class Config(BaseModel):
    die: bool = False
    ill: str = ""

app = Service("app", config=Config, ack_wait=5, concurrency=4)
held = []

class Ask(BaseModel):
    seconds: float = 0
    megabytes: int = 0

@app.on_start
async def start(info):
    if info.config.die:
        raise RuntimeError("no line to the telephone company")

@app.health_check
async def healthy():
    return not Path(f"ill-{os.getpid()}").exists()

@app.rpc("who")
async def who(request: Ask, ctx: Context) -> str:
    return ctx.worker

@app.job("work", timeout=60)
async def work(request: Ask, ctx: Context) -> None:
    await asyncio.sleep(request.seconds)

@app.job("block", timeout=600)
async def block(request: Ask, ctx: Context) -> None:
    if ctx.attempt == 1:
        time.sleep(request.seconds)

@app.job("hang", timeout=0.5)
async def hang(request: Ask, ctx: Context) -> None:
    if ctx.attempt > 1:
        return
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@app.job("leak", timeout=60)
async def leak(request: Ask, ctx: Context) -> None:
    held.append(bytearray(os.urandom(1) * (request.megabytes << 20)))
    await asyncio.sleep(request.seconds)
"""


class Watch:
    """Looks at the fleet again and again: which workers there were, and the fewest and most at a time."""

    def __init__(self, fleet) -> None:
        self.fleet = fleet
        self.fewest = self.most = len(fleet.workers())
        self.seen = dict(fleet.workers())

    def look(self) -> dict[str, int]:
        self.fleet.check()
        living = self.fleet.workers()
        self.fewest, self.most = min(self.fewest, len(living)), max(self.most, len(living))
        self.seen |= living
        return living


async def replaced(fleet, until, worker: str, count: int) -> Watch:
    """Wait until another worker is there instead, and see that it came first."""
    watch, began = Watch(fleet), time.monotonic()
    await until(lambda: worker not in watch.look() and len(watch.look()) == count, 60)
    print(f"replaced after {time.monotonic() - began:.1f} s")
    assert watch.most == count + 1, "the new one came before the old one went"
    assert watch.fewest >= count
    return watch


async def fleet_of(fleet, count: int, **scale) -> None:
    await fleet.declare(Scale.fixed(count).model_copy(update=scale), SOURCE)
    await fleet.scaler()
    await fleet.serving(count)


async def hit(fleet, operation: str, **request) -> str:
    """Submit one job, and return the worker that has it in hand, by the heartbeats."""
    busy: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def on_beat(message) -> None:
        if b'"in_hand":0' not in message.data and not busy.done():
            busy.set_result(message.subject.rsplit(".", 1)[1])

    watch = await fleet.bus.nc.subscribe("beat.>", cb=on_beat)
    await fleet.bus.submit("app", operation, request, tenant="t")
    try:
        async with asyncio.timeout(60):
            return await busy
    finally:
        await watch.unsubscribe()


async def test_a_worker_that_dies_is_replaced_at_once(fleet, until):
    await fleet_of(fleet, 2)
    worker, pid = next(iter(fleet.workers().items()))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: worker not in fleet.workers() and len(fleet.workers()) == 2)


async def test_however_often_workers_die_that_had_lived_for_a_while_they_are_replaced_at_once(fleet, until):
    """More deaths than the restart intensity allows, of workers that are no part of a crash loop."""
    await fleet_of(fleet, 7)
    lived = time.monotonic() + STEADY
    await until(lambda: time.monotonic() > lived, 60)
    old = fleet.workers()
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not old.keys() & fleet.workers().keys() and len(fleet.workers()) == 7)
    record = await fleet.record()
    assert (record.health, record.deaths, record.retry_at) == ("ok", 0, None)


async def test_a_worker_that_falls_silent_is_replaced_first_and_killed_then(fleet, until):
    await fleet_of(fleet, 3)
    worker, pid = next(iter(fleet.workers().items()))
    os.kill(pid, signal.SIGSTOP)
    await replaced(fleet, until, worker, 3)


async def test_a_worker_whose_event_loop_is_stuck_is_replaced_and_its_job_done_by_another(fleet, until):
    await fleet_of(fleet, 2)
    before = fleet.workers()
    await fleet.bus.submit("app", "block", {"seconds": 600}, tenant="t")
    watch = Watch(fleet)
    await until(lambda: len(before.keys() & watch.look().keys()) == 1 and len(watch.look()) == 2, 60)
    assert watch.most == 3
    assert watch.fewest >= 2
    await fleet.empty()


async def test_a_handler_that_ignores_its_timeout_has_its_worker_replaced(fleet, until):
    await fleet_of(fleet, 2)
    worker = await hit(fleet, "hang")
    await replaced(fleet, until, worker, 2)
    await fleet.empty()


async def test_a_worker_whose_health_check_fails_is_replaced(fleet, until, tmp_path):
    await fleet_of(fleet, 2)
    worker, pid = next(iter(fleet.workers().items()))
    (tmp_path / f"ill-{pid}").touch()
    await replaced(fleet, until, worker, 2)


async def test_a_leaking_worker_is_replaced_when_it_has_nothing_in_hand(fleet, until):
    await fleet_of(fleet, 2, memory=220_000_000)
    worker = await hit(fleet, "leak", megabytes=200, seconds=8)
    began = time.monotonic()
    await until(lambda: len(fleet.workers()) == 3, 60)  # its replacement is there long before it is idle
    assert worker in fleet.workers()
    await until(lambda: worker not in fleet.workers() and len(fleet.workers()) == 2, 60)
    assert time.monotonic() - began > 2, "it had time to finish what it had in hand"
    await fleet.empty()
    consumers = await fleet.bus.js.consumers_info("JOBS_app")
    assert sum(one.delivered.consumer_seq for one in consumers) == 1, "the job was done once"


async def test_when_no_heartbeat_is_heard_at_all_nobody_is_killed(fleet, until):
    await fleet_of(fleet, 3)
    before = fleet.workers()
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    quiet = time.monotonic() + 6
    watch = Watch(fleet)
    await until(lambda: watch.look() and time.monotonic() > quiet, 60)
    assert watch.seen == before, "nobody was started, either"
    first, *others = before.values()
    os.kill(first, signal.SIGCONT)
    scaler = fleet.controllers[0]
    rounds = scaler.rounds + 4
    await until(lambda: watch.look() and scaler.rounds > rounds, 60)
    assert watch.seen == before, "the first one that is heard again does not condemn the others"
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    await fleet.serving(3)
    assert fleet.workers() == before


async def test_a_crash_loop_backs_off_and_tells_why(fleet, until):
    await fleet.declare(Scale.fixed(1), SOURCE, config={"die": True})
    await fleet.scaler()

    async def looping() -> bool:
        return (await fleet.record()).health == "crash-loop"

    await until(looping, 60)
    record = await fleet.record()
    assert record.deaths >= 5
    assert record.last_exit == "exit code 1"
    assert record.retry_at is not None
    assert record.retry_at > time.time() + 1, "it waits longer and longer"
    assert any("no line to the telephone company" in line for line in record.stderr)


async def test_a_version_that_cannot_be_imported_backs_off_and_tells_why(fleet, until):
    await fleet.declare(Scale.fixed(2), "raise RuntimeError('no licence')")
    await fleet.scaler()

    async def told() -> bool:
        record = await fleet.record()
        return record.deaths > 2 and any("no licence" in line for line in record.stderr)

    await until(told, 60)
    assert fleet.workers() == {}


async def test_workers_that_fall_sick_again_and_again_are_replaced_more_and_more_slowly(fleet, until, tmp_path):
    """What the health check of all of them looks at is gone; the old ones go on as well as they can."""
    source = SOURCE.replace('Path(f"ill-{os.getpid()}").exists()', 'Path("ill").exists()')
    await fleet.declare(Scale.fixed(1), source)
    await fleet.scaler()
    await fleet.serving(1)
    (tmp_path / "ill").touch()

    async def backs_off() -> bool:
        assert fleet.workers()
        record = await fleet.record()
        return record.retry_at is not None and "health check" in record.last_exit

    await until(backs_off, 60)
    (tmp_path / "ill").unlink()
    await fleet.serving(1)
