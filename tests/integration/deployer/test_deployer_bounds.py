"""Queues are bounded by use: a large bound is set when the queue comes near it, and lifted when it is drained."""

from __future__ import annotations

import asyncio

import pytest

from headway import QueueFull, Service
from headway.bus.nats import jsapi, streams
from headway.bus.worker import queues
from headway.deployer import bounds
from headway.deployer.bounds import NONE, bound

GIB = 1 << 30


@pytest.mark.parametrize(
    ("used", "current", "wanted"),
    [
        (0, NONE, NONE),
        (GIB // 2 - 1, NONE, NONE),
        (GIB // 2, NONE, GIB),
        (GIB // 2 - 1, GIB, GIB),
        (GIB // 4, GIB, GIB),
        (GIB // 4 - 1, GIB, NONE),
        (2 * GIB, NONE, 2 * GIB),
    ],
)
def test_a_bound_is_set_from_half_of_it_on_and_lifted_below_a_quarter(used, current, wanted):
    assert bound(used, GIB, current) == wanted


async def test_three_hundred_services_set_no_room_aside(nats_broker):
    async with await nats_broker.connect("control") as bus:
        before = await jsapi.request(bus.nc, "INFO")
        for number in range(300):
            await streams.ensure(bus.js, streams.jobs(f"s-{number}", GIB, 1000))
        after = await jsapi.request(bus.nc, "INFO")
        assert after["streams"] == before["streams"] + 300
        assert after.get("reserved_storage", 0) == before.get("reserved_storage", 0)


async def test_a_large_queue_that_fills_gets_its_bound_and_refuses_then_and_loses_it_when_drained(
    nats_broker, monkeypatch
):
    monkeypatch.setattr(streams, "SET_ASIDE", 0)
    limit = 200_000
    fax = Service("fax", queue_bytes=limit)

    @fax.job("send")
    async def send(_fax: dict) -> None: ...

    async with await nats_broker.connect("control") as bus:
        await queues.declare(bus.js, fax, "v1")
        assert (await bus.js.stream_info("JOBS_fax")).config.max_bytes == NONE
        assert await bounds.apply(bus) == {}

        async def put(count: int) -> None:
            for _ in range(count):
                await bus.store("job.fax.v1.3.acme.send", b"x" * 10_000, {}, 5)

        await put(12)
        assert await bounds.apply(bus) == {"JOBS_fax": limit}
        with pytest.raises(QueueFull):
            await put(12)
        await queues.declare(bus.js, fax, "v2")
        assert (await bus.js.stream_info("JOBS_fax")).config.max_bytes == limit, "workers that start leave it alone"
        await bus.js.purge_stream("JOBS_fax")
        assert await bounds.apply(bus) == {"JOBS_fax": NONE}
        await put(1)


async def test_a_queue_that_holds_more_than_its_bound_by_then_loses_nothing(nats_broker, monkeypatch):
    monkeypatch.setattr(streams, "SET_ASIDE", 0)
    async with await nats_broker.connect("control") as bus:
        await streams.ensure(bus.js, streams.jobs("fax", 50_000, 1000))
        for _ in range(20):
            await bus.store("job.fax.v1.3.acme.send", b"x" * 10_000, {}, 5)
        await bounds.apply(bus)
        await asyncio.sleep(0.1)
        assert (await bus.js.stream_info("JOBS_fax")).state.messages == 20
