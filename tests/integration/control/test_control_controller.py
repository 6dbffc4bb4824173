"""The skeleton of all controllers: one leads, what it began ends with it, and another goes on at once."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import pytest

from headway import Service, Worker
from headway.control.controller import Controller

NEVER = 3600.0


class Counting(Controller):
    """Counts its rounds."""

    def __init__(self, bus, holder, period=0.05):
        super().__init__(bus, "counting", holder=holder, period=period, timeout=5)
        self.rounds = 0
        self.told = []

    async def reconcile(self) -> None:
        self.rounds += 1

    def beside(self):
        return (self._forever(),)

    @asynccontextmanager
    async def opened(self):
        self.told.append("opened")
        yield
        self.told.append("closed")

    async def _forever(self) -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            self.told.append("beside ended")


@pytest.fixture
async def two(nats_broker):
    async with await nats_broker.connect("control") as one, await nats_broker.connect("control") as other:
        yield Counting(one, "one"), Counting(other, "other")


async def test_one_of_two_acts_and_the_other_goes_on_at_once_when_it_is_stopped(two, until):
    first, second = two
    stop, other = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(first.run(stop))
        await until(lambda: first.rounds > 2)
        group.create_task(second.run(other))
        await asyncio.sleep(0.5)
        assert second.rounds == 0
        stop.set()
        await running
        began = time.monotonic()
        await until(lambda: second.rounds)
        assert time.monotonic() - began < 2, "the lease was given back, not left to expire"
        assert first.told == ["opened", "beside ended", "closed"]
        other.set()


async def test_what_was_spawned_ends_with_the_controller_and_a_failure_of_it_does_not_stop_the_rounds(
    two, until, caplog
):
    controller, ended, stop = two[0], [], asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            ended.append(True)

    async def failing() -> None:
        raise ValueError("a bug")

    with caplog.at_level(logging.ERROR):
        async with asyncio.TaskGroup() as group:
            running = group.create_task(controller.run(stop))
            await until(lambda: controller.rounds)
            controller.spawn(forever())
            controller.spawn(failing(), "starting fax v1")
            before = controller.rounds
            await until(lambda: controller.rounds > before + 2)
            stop.set()
            await running
    assert ended == [True]
    assert "starting fax v1 failed" in caplog.text


async def test_one_that_is_cancelled_leaves_the_lease_free_for_the_next(two, until):
    first, second = two
    running = asyncio.create_task(first.run())
    await until(lambda: first.rounds)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert await second.lease.acquire_or_renew()


async def test_it_sees_the_fleet_while_it_runs(two, nats_broker, until):
    controller, stop = two[0], asyncio.Event()
    async with (
        await nats_broker.connect("worker", service="app") as bus,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(controller.run(stop))
        await until(lambda: controller.rounds)
        async with Worker(Service("app"), bus):
            await until(lambda: sum(controller.fleet.serving("app").values()) == 1)
        await until(lambda: not controller.fleet.alive("app"))
        stop.set()
