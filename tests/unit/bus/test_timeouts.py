"""Many limits, one timer."""

from __future__ import annotations

import asyncio
import time

from headway.bus.worker.timeouts import NEVER, Timed, Timeouts


def sleeping(in_hand: set[Timed]) -> Timed:
    item = Timed()
    item.task = asyncio.get_running_loop().create_task(asyncio.sleep(10))
    in_hand.add(item)
    return item


async def ended_after(item: Timed) -> float:
    began = time.monotonic()
    await asyncio.wait([item.task])
    assert item.task.cancelled()
    return time.monotonic() - began


async def test_what_is_overdue_is_cancelled_and_marked() -> None:
    in_hand: set[Timed] = set()
    item = sleeping(in_hand)
    Timeouts(in_hand).limit(item, time.monotonic() + 0.05)
    assert 0.045 <= await ended_after(item) < 1
    assert item.timed_out


async def test_an_earlier_limit_set_later_fires_in_its_own_time() -> None:
    in_hand: set[Timed] = set()
    late, early = sleeping(in_hand), sleeping(in_hand)
    timeouts = Timeouts(in_hand)
    timeouts.limit(late, time.monotonic() + 5)
    timeouts.limit(early, time.monotonic() + 0.05)
    assert await ended_after(early) < 1
    assert not late.timed_out
    late.task.cancel()


async def test_after_one_has_fired_the_next_one_does() -> None:
    in_hand: set[Timed] = set()
    first, second = sleeping(in_hand), sleeping(in_hand)
    timeouts = Timeouts(in_hand)
    timeouts.limit(first, time.monotonic() + 0.03)
    timeouts.limit(second, time.monotonic() + 0.09)
    await ended_after(first)
    assert not second.timed_out
    assert await ended_after(second) < 1


async def test_a_limit_that_is_lifted_does_not_fire_and_does_not_hold_up_others() -> None:
    in_hand: set[Timed] = set()
    done, other = sleeping(in_hand), sleeping(in_hand)
    timeouts = Timeouts(in_hand)
    timeouts.limit(done, time.monotonic() + 0.03)
    timeouts.limit(other, time.monotonic() + 0.06)
    done.due = NEVER
    await ended_after(other)
    assert not done.timed_out
    assert not done.task.done()
    done.task.cancel()


async def test_what_left_the_hand_is_forgotten() -> None:
    in_hand: set[Timed] = set()
    gone = sleeping(in_hand)
    timeouts = Timeouts(in_hand)
    timeouts.limit(gone, time.monotonic() + 0.02)
    in_hand.clear()
    await asyncio.sleep(0.06)
    assert not gone.timed_out
    gone.task.cancel()


async def test_a_limit_in_the_past_fires_at_once() -> None:
    in_hand: set[Timed] = set()
    item = sleeping(in_hand)
    Timeouts(in_hand).limit(item, time.monotonic() - 1)
    assert await ended_after(item) < 0.5
