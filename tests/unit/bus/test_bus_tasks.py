"""Tasks end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from headway.bus import tasks


async def test_a_task_that_loses_a_cancellation_ends_all_the_same():
    lost = 0

    async def careless() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    task = asyncio.ensure_future(careless())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await tasks.end([task])
    assert (task.cancelled(), lost) == (True, 2)


async def test_those_that_ended_by_themselves_keep_what_they_ended_with():
    async def fail() -> None:
        raise LookupError("no")

    failed, fine = asyncio.ensure_future(fail()), asyncio.ensure_future(asyncio.sleep(0, "fine"))
    await asyncio.wait([failed, fine])
    await tasks.end([failed, fine])
    assert isinstance(failed.exception(), LookupError)
    assert fine.result() == "fine"
    await tasks.end([])
