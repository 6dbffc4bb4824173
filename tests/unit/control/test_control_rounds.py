"""Rounds of a controller: when they begin, and what a failing one costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headway.bus.errors import ConnectionFailed
from headway.bus.tasks import end
from headway.control import rounds as control_rounds
from headway.control.rounds import Rounds

NEVER = 3600.0


@dataclass
class Led:
    """What rounds look at of a lease."""

    held: bool = True


@asynccontextmanager
async def going(
    rounds: Rounds, act: Callable[[], Awaitable[None]], late: Callable[[], Any] = lambda: None
) -> AsyncIterator[None]:
    task = asyncio.create_task(rounds.run(act, timeout=0.05, late=late))
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        await end([task])


async def test_one_that_is_woken_does_not_wait_for_its_period():
    acted = asyncio.Semaphore(0)

    async def act() -> None:
        acted.release()

    rounds = Rounds("scaler", Led(), NEVER)
    async with going(rounds, act):
        await acted.acquire()
        rounds.wake()
        await acted.acquire()


async def test_only_the_leader_acts():
    acted = asyncio.Event()

    async def act() -> None:
        acted.set()

    lease = Led(held=False)
    rounds = Rounds("scaler", lease, NEVER)
    async with going(rounds, act):
        await asyncio.sleep(0.01)
        assert not acted.is_set()
        lease.held = True
        rounds.led(True)
        await acted.wait()


async def test_a_round_that_fails_or_hangs_is_given_up_and_the_next_one_tries_again():
    left = [ConnectionFailed("away"), ValueError("a bug"), None]
    done = asyncio.Event()

    async def act() -> None:
        match left.pop(0):
            case None:
                left.append(ConnectionFailed("again"))
                await asyncio.sleep(NEVER)
            case ConnectionFailed() as error if left == []:
                done.set()
                left.append(error)
            case error:
                raise error

    async with going(Rounds("scaler", Led(), 0.001), act):
        await done.wait()


async def test_it_says_when_the_process_stood_still(monkeypatch):
    monkeypatch.setattr(control_rounds, "_LATE", 0.2)
    late, acted = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        acted.set()

    async with going(Rounds("scaler", Led(), 0.01), act, late.set):
        await acted.wait()
        assert not late.is_set()
        time.sleep(0.3)  # noqa: ASYNC251  # a machine that was suspended looks like this
        await late.wait()
