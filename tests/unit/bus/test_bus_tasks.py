"""Tasks end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from headway.bus import tasks
from headway.bus.errors import NotServed


async def test_a_task_that_loses_a_cancellation_ends_all_the_same(monkeypatch):
    monkeypatch.setattr(tasks, "_AGAIN", 0.02)
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


async def test_a_group_of_tasks_raises_the_error_itself():
    late = TimeoutError()

    async def wait() -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError) as raised:
        async with tasks.group() as group:
            waiting = group.create_task(wait())
            await asyncio.sleep(0)
            raise late
    assert raised.value is late
    assert waiting.cancelled()


async def test_of_several_errors_headways_own_is_raised_and_the_others_are_its_cause():
    async def fail(error: Exception) -> None:
        raise error

    own = NotServed("nobody serves it")
    with pytest.raises(NotServed) as raised:
        async with tasks.group() as outer:
            outer.create_task(fail(ValueError()))
            async with tasks.group() as group:
                group.create_task(fail(own))
    assert raised.value is own
    assert isinstance(raised.value.__cause__, ExceptionGroup)


async def test_a_time_limit_around_a_group_of_tasks_is_a_timeout():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), tasks.group() as group:
            group.create_task(asyncio.sleep(60))


def test_leaves_are_the_errors_at_any_depth():
    one, two = ValueError("1"), ValueError("2")
    assert [*tasks.leaves(ExceptionGroup("", [one, ExceptionGroup("", [two])]))] == [one, two]
    assert [*tasks.leaves(one)] == [one]
