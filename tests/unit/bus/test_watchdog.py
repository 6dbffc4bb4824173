"""The watchdog looks while something is in hand, and only then."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from headway.bus.worker import watchdog
from headway.bus.worker.watchdog import Watchdog


@pytest.fixture
async def told(monkeypatch):
    """A watchdog that takes 0.2 s for blocked, and the places that it told."""
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.2)
    monkeypatch.setattr(watchdog, "_LOOK", 0.01)
    places: list[str] = []
    dog = Watchdog(lambda task, where: places.append(where))
    dog.start()
    yield dog, places
    dog.stop()


def block(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


async def test_a_blocked_loop_is_told_also_when_nothing_was_in_hand_for_long(told, caplog):
    dog, places = told
    dog.rest()
    await asyncio.sleep(0.25)
    dog.turn()
    with caplog.at_level(logging.CRITICAL):
        block(0.4)
    assert len(places) == 1
    assert "in block" in places[0]


async def test_the_time_at_rest_does_not_count_as_blocked(told):
    dog, places = told
    dog.rest()
    await asyncio.sleep(0.25)
    dog.turn()
    block(0.02)
    assert places == []


async def test_at_rest_it_does_not_look(told):
    dog, places = told
    dog.rest()
    block(0.4)
    assert places == []


async def test_one_that_rests_is_stopped(told):
    dog, _ = told
    dog.rest()
    await asyncio.sleep(0.03)
    dog.stop()
    thread = dog._thread
    assert thread is not None
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
