"""Lag read from a real server: right for every version and lane, in few requests, unknown rather than wrong."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import BaseModel

from headway.bus import Context, Retry, Service
from headway.bus.nats import streams
from headway.scaler.lag import LagReader


class Job(BaseModel):
    n: int = 0


def service(name: str, handle=None) -> Service:
    made = Service(name, ack_wait=5)

    @made.job("work", retry=Retry(attempts=50, backoff=(60,), jitter=0))
    async def work(request: Job, ctx: Context) -> None:
        if handle is not None:
            await handle(request, ctx)

    return made


async def queue(bus, name: str, *versions: str) -> None:
    """A job queue without workers."""
    js = bus.bus.js
    await streams.ensure(js, streams.jobs(name, 1 << 24, 10_000))
    for version in versions:
        for lane in range(16):
            await streams.ensure_consumer(js, streams.jobs_stream(name), streams.lane(name, version, lane, 5))


async def test_every_version_and_lane_is_counted(bus):
    await queue(bus, "app", "v1", "v2")
    await bus.broker.set_routes({"app": {"v1": 50, "v2": 50}})
    await asyncio.gather(*(bus.submit("app", "work", Job(n=n), tenant=f"t{n % 7}") for n in range(200)))
    lags = await LagReader(bus.bus).read(10.0)
    totals = {key[1]: sum(lane.pending for lane in lanes.values()) for key, lanes in lags.lanes.items()}
    assert sum(totals.values()) == 200
    assert all(60 < total < 140 for total in totals.values()), totals
    assert set(lags.lanes["app", "v1"]) == set(range(16))
    assert lags.stored == {"app": 200}
    assert lags.unknown == frozenset()


async def test_messages_in_retry_are_told_apart(bus, until):
    async def fail(_request: Job, _ctx: Context) -> None:
        raise RuntimeError("no")

    reader = LagReader(bus.bus)
    async with bus.serving(service("app", fail)) as [worker]:
        for n in range(10):
            await bus.submit("app", "work", Job(n=n))

        async def all_failed() -> bool:
            return worker.counters.retried == 10

        await until(all_failed, 10)
        lanes = (await reader.read(1.0)).lanes["app", "v1"].values()
        # The server counts a message as redelivered from its second delivery on; handed back, it is ack-pending.
        assert sum(lane.ack_pending for lane in lanes) == 10
        assert sum(lane.pending for lane in lanes) == 0


async def test_idle_services_cost_no_request_of_their_own(bus):
    for n in range(5):
        await queue(bus, f"app-{n}", "v1")
    reader = LagReader(bus.bus)
    await reader.read(1.0)
    before = reader.requests
    await reader.read(2.0)
    assert reader.requests - before == 1
    await bus.broker.set_routes({"app-3": {"v1": 100}})
    await bus.submit("app-3", "work", Job())
    before = reader.requests
    lags = await reader.read(3.0)
    assert reader.requests - before == 2
    assert sum(lane.pending for lane in lags.lanes["app-3", "v1"].values()) == 1


async def test_the_oldest_age_grows_until_the_message_is_done_and_starts_anew_for_the_next(bus, until):
    gate = asyncio.Event()

    async def wait(_request: Job, _ctx: Context) -> None:
        await gate.wait()

    reader = LagReader(bus.bus)

    def oldest(lags) -> float:
        return max(lane.oldest_s for lane in lags.lanes["app", "v1"].values())

    async with bus.serving(service("app", wait)) as [worker]:
        await reader.read(0.0)
        await bus.submit("app", "work", Job())
        assert oldest(await reader.read(10.0)) == 0.0
        assert oldest(await reader.read(15.0)) == 5.0
        gate.set()

        async def processed() -> bool:
            return worker.counters.processed == 1

        await until(processed, 5)
        gate.clear()
        await worker.bus.flush()
        assert oldest(await reader.read(20.0)) == 0.0
        await bus.submit("app", "work", Job())
        assert oldest(await reader.read(100.0)) == 0.0
        assert oldest(await reader.read(103.0)) == 3.0
        gate.set()


async def test_without_an_answer_all_is_unknown_and_nothing_is_zero(bus):
    await queue(bus, "app", "v1")
    await bus.broker.set_routes({"app": {"v1": 100}})
    await bus.submit("app", "work", Job())
    reader = LagReader(bus.bus, timeout=0.3)
    assert (await reader.read(1.0)).known("JOBS_app")
    await bus.broker.server.kill()
    try:
        lags = await reader.read(2.0)
        assert not lags.known("JOBS_app")
        assert sum(lane.pending for lane in lags.lanes["app", "v1"].values()) == 1
    finally:
        await bus.broker.server.restart()


async def test_a_service_that_is_gone_is_forgotten(bus):
    await queue(bus, "app", "v1")
    reader = LagReader(bus.bus)
    assert (await reader.read(1.0)).lanes
    await bus.bus.js.delete_stream("JOBS_app")
    lags = await reader.read(2.0)
    assert (lags.lanes, lags.unknown) == ({}, frozenset())


@pytest.mark.slow
async def test_many_services_are_read_in_one_go(bus):
    names = [f"app-{n}" for n in range(40)]
    for name in names:
        await queue(bus, name, "v1")
    reader = LagReader(bus.bus)
    began = time.perf_counter()
    lags = await reader.read(1.0)
    first = time.perf_counter() - began
    began = time.perf_counter()
    await reader.read(2.0)
    print(f"40 services x 16 lanes: first read {first * 1e3:.0f} ms, idle {(time.perf_counter() - began) * 1e3:.0f} ms")
    assert {service for service, _ in lags.lanes} == set(names)
    assert reader.requests == 1 + 40 + 1 + 1  # the list, 40 first looks and EVENTS, then the list alone
