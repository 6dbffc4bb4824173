"""The scaler at work: workers follow the load, outlive the scaler, and of several scalers one acts."""

from __future__ import annotations

import asyncio

from headway.bus.nats import streams
from headway.control.records import Lag, Scale, VersionRecord
from headway.control.store import version_key

SOURCE = """
import asyncio
from pydantic import BaseModel
from headway import Context, Retry, Service

app = Service("app", ack_wait=5, concurrency=4)

class Ask(BaseModel):
    seconds: float = 0

@app.job("work")
async def work(request: Ask, ctx: Context) -> None:
    await asyncio.sleep(request.seconds)

@app.job("poison", retry=Retry(attempts=100_000, backoff=(0.2,), jitter=0))
async def poison(request: Ask, ctx: Context) -> None:
    raise RuntimeError("it never works")
"""


async def test_workers_grow_with_the_work_and_shrink_again_and_each_step_has_its_reason(fleet):
    await fleet.declare(Scale(min=1, max=4, down_after=1, lag=Lag(drain_within=2)), SOURCE)
    await fleet.scaler()
    await fleet.serving(1)
    await asyncio.gather(*(fleet.bus.submit("app", "work", {"seconds": 0.2}, tenant=f"t{n % 9}") for n in range(200)))
    await fleet.count(4)
    await fleet.empty()
    await fleet.count(1)
    steps = [(one.before, one.desired) for one in (await fleet.record()).history]
    assert steps[0] == (0, 1)
    assert max(desired for _, desired in steps) == 4
    assert steps[-1][1] == 1
    assert all(one.reason for one in (await fleet.record()).history)


async def test_the_first_message_wakes_a_service_that_has_no_worker(fleet):
    js = fleet.bus.js
    await streams.ensure(js, streams.jobs("app", 1 << 20, 1000))
    for lane in range(16):
        await streams.ensure_consumer(js, "JOBS_app", streams.lane("app", "v1", lane, 5))
    await fleet.declare(Scale(min=0, max=4, down_after=1), SOURCE)
    scaler = await fleet.scaler()
    await fleet.until(lambda: scaler.rounds > 5)
    assert fleet.workers() == {}
    await fleet.bus.submit("app", "work", {}, tenant="t")
    await fleet.empty()
    await fleet.count(0)


async def test_ten_poison_messages_add_no_worker(fleet):
    """They fail again and again, all the time, and more than the slots of one worker can hold."""
    await fleet.declare(Scale(min=1, max=5, down_after=1, lag=Lag(drain_within=1)), SOURCE)
    scaler = await fleet.scaler()
    await fleet.serving(1)
    for n in range(10):
        await fleet.bus.submit("app", "poison", {}, tenant=f"t{n}")

    async def redelivered() -> int:
        return sum(one.delivered.consumer_seq for one in await fleet.bus.js.consumers_info("JOBS_app"))

    rounds = scaler.rounds
    await fleet.until(lambda: scaler.rounds > rounds + 25)
    assert await redelivered() > 50, "they were not tried often: it shows nothing"
    assert [one.desired for one in (await fleet.record()).history] == [1]


async def test_a_version_without_workers_is_imported_before_there_is_work_for_it(fleet, tmp_path, until):
    await fleet.declare(Scale(min=0, max=4), SOURCE + "\nopen('imported', 'a').write('once')\n")
    await fleet.scaler()
    await until((tmp_path / "imported").exists)
    assert fleet.workers() == {}
    await fleet.declare(Scale.fixed(2))
    await fleet.serving(2)
    assert (tmp_path / "imported").read_text() == "once", "its workers did not import it again"


async def test_workers_outlive_the_scaler_and_the_next_one_adopts_them(fleet):
    await fleet.declare(Scale.fixed(2), SOURCE)
    first = await fleet.scaler()
    await fleet.serving(2)
    before = fleet.workers()
    await fleet.end(first)
    assert fleet.workers() == before
    second = await fleet.scaler()
    await fleet.until(lambda: second.rounds > 5)
    assert fleet.workers() == before


async def test_of_two_scalers_one_acts_and_the_other_takes_over(fleet):
    await fleet.declare(Scale.fixed(2), SOURCE)
    first, second = await fleet.scaler(), await fleet.scaler()
    await fleet.serving(2)
    assert [first.lease.held, second.lease.held].count(True) == 1
    assert len(fleet.workers()) == 2
    leader, other = (first, second) if first.lease.held else (second, first)
    await fleet.end(leader, cancel=True)
    await fleet.declare(Scale.fixed(3))
    await fleet.count(3)
    assert other.lease.held


async def test_a_retired_version_is_drained(fleet):
    await fleet.declare(Scale.fixed(2), SOURCE)
    await fleet.scaler()
    await fleet.serving(2)
    retired = {"phase": "retired"}
    await fleet.control.change(version_key("app", "v1"), VersionRecord, lambda v: v.model_copy(update=retired))
    await fleet.count(0)
