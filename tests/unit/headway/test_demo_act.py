"""An act of the demo ends with findings, never with a crash."""

from __future__ import annotations

import asyncio

import pytest

from headway.bus.errors import Unavailable
from headway.demo.act import act


async def test_an_act_that_is_out_of_time_is_a_finding():
    wrong: list[str] = []
    async with act("the burst", 0.01, wrong), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
    assert wrong == ["the burst was not over after 0.01 s"]


async def test_a_timeout_inside_a_group_of_tasks_is_a_finding():
    wrong: list[str] = []
    async with act("the burst", 60, wrong), asyncio.TaskGroup():
        raise TimeoutError
    assert wrong == ["the burst was not over after 60 s"]


async def test_a_client_that_gave_up_is_a_finding_with_its_reason():
    async def fail() -> None:
        raise Unavailable("the store is away")

    wrong: list[str] = []
    async with act("the burst", 60, wrong), asyncio.TaskGroup() as group:
        group.create_task(fail())
    assert [one.split(" (")[0] for one in wrong] == ["the burst ended early: the store is away"]


async def test_a_bug_is_no_finding():
    wrong: list[str] = []
    with pytest.raises(ZeroDivisionError):
        async with act("the burst", 60, wrong):
            raise ZeroDivisionError
    assert wrong == []


async def test_who_interrupts_an_act_ends_it():
    wrong: list[str] = []

    async def run() -> None:
        async with act("the burst", 60, wrong):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wrong == []
