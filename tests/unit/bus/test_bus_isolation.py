"""Messages run together, or one of them alone."""

from __future__ import annotations

import asyncio

import pytest

from headway.bus.worker.attempts import Isolation


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_that_is_alone_waits_for_the_others_and_keeps_new_ones_away():
    isolation = Isolation()
    seen: list[str] = []
    release = {name: asyncio.Event() for name in ("first", "suspect", "late")}

    async def run(name, entering):
        async with entering:
            seen.append(f"{name} begins")
            await release[name].wait()
            seen.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(run("first", isolation.together()))
        await turns()
        group.create_task(run("suspect", isolation.alone()))
        await turns()
        group.create_task(run("late", isolation.together()))
        await turns()
        assert seen == ["first begins"]
        release["first"].set()
        await turns()
        assert seen == ["first begins", "first ends", "suspect begins"]
        release["suspect"].set()
        release["late"].set()
    assert seen[3:] == ["suspect ends", "late begins", "late ends"]


async def test_several_run_together():
    isolation = Isolation()
    async with asyncio.timeout(1), isolation.together(), isolation.together():
        pass


async def test_one_that_is_cancelled_while_it_waits_to_be_alone_leaves_the_others_free():
    isolation = Isolation()
    async with isolation.together():
        waiting = asyncio.ensure_future(isolation.alone().__aenter__())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), isolation.together():
        pass
