"""The leader's lease: one holds it, and when it falls silent another does."""

from __future__ import annotations

import asyncio
import time

import pytest

from headway.control.lease import Lease, holds


@pytest.fixture
async def contenders(nats_broker):
    async with await nats_broker.connect("control") as one, await nats_broker.connect("control") as two:
        yield Lease(one, "scaler", "one", ttl=1), Lease(two, "scaler", "two", ttl=1)


def test_a_holder_stops_before_the_server_gives_its_lease_away():
    assert holds(10.0, 12.4, ttl=3)
    assert not holds(10.0, 12.5, ttl=3)
    assert not holds(None, 0.0)


async def test_of_two_contenders_one_holds_it(contenders):
    one, two = contenders
    assert await one.acquire_or_renew()
    assert not await two.acquire_or_renew()
    assert (one.held, two.held) == (True, False)
    assert await one.acquire_or_renew()
    assert not await two.acquire_or_renew()


async def test_of_two_at_the_same_moment_one_holds_it(contenders):
    got = await asyncio.gather(*(contender.acquire_or_renew() for contender in contenders))
    assert sorted(got) == [False, True]


async def test_when_the_holder_falls_silent_the_other_has_it_within_five_seconds_under_a_new_epoch(contenders):
    one, two = contenders
    assert await one.acquire_or_renew()
    epoch, silent = one.epoch, time.monotonic()
    while not await two.acquire_or_renew():
        assert time.monotonic() - silent < 5
        await asyncio.sleep(0.1)
    assert not one.held, "it must have stopped before the other began"
    assert two.epoch > epoch
    assert not await one.acquire_or_renew(), "its old lease is gone for good"


async def test_a_lease_that_is_given_up_is_free_at_once(contenders):
    one, two = contenders
    assert await one.acquire_or_renew()
    await one.release()
    assert not one.held
    assert await two.acquire_or_renew()
    assert two.epoch > one.epoch


async def test_a_holder_that_is_cut_off_knows_that_it_holds_nothing(nats_broker, until):
    async with await nats_broker.connect("control") as bus:
        lease = Lease(bus, "scaler", "one", ttl=1)
        assert await lease.acquire_or_renew()
        await nats_broker.server.kill()
        try:

            async def over() -> bool:
                return not lease.held

            await until(over, 3)
        finally:
            await nats_broker.server.restart()
