"""Two scalers in processes of their own: one acts, and when it is killed or sleeps, the other one does, and only it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

from headway.control.records import LeaseRecord, Scale
from headway.control.store import lease_key

SOURCE = """
from headway import Context, Service

app = Service("app", ack_wait=5)

@app.job("work")
async def work(request: int, ctx: Context) -> None: ...
"""
TAKEOVER = 5.0
"""Seconds within which the other one acts, on a machine that is not late itself."""


class Watch:
    """Everybody who ever lived, and the most at a time."""

    def __init__(self, fleet) -> None:
        self.fleet, self.seen, self.most = fleet, {}, 0

    def look(self) -> dict[str, int]:
        living = self.fleet.workers()
        self.seen |= living
        self.most = max(self.most, len(living))
        return living


@asynccontextmanager
async def lateness():
    """How late this machine is: the seconds by which sleeps took longer than they should, all together."""
    late = [0.0]

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            late[0] += time.monotonic() - began - 0.02

    ticking = asyncio.ensure_future(tick())
    try:
        yield late
    finally:
        ticking.cancel()


async def holder(fleet) -> LeaseRecord | None:
    found = await fleet.control.get(lease_key("scaler"), LeaseRecord)
    return None if found is None else found.value


async def test_the_leader_is_killed_and_the_other_takes_over_without_a_double_spawn(fleet, until):
    await fleet.declare(Scale.fixed(3), SOURCE)
    scalers = {name: await fleet.scaler_process(name) for name in ("one", "two")}
    await fleet.serving(3)
    watch = Watch(fleet)
    before, first = watch.look(), await holder(fleet)
    assert first is not None
    async with lateness() as late:
        scalers[first.holder].kill()
        died = time.monotonic()
        os.kill(next(iter(before.values())), signal.SIGKILL)  # which only a new leader will replace
        await until(lambda: len(watch.look()) == 2, 60)
        await until(lambda: len(watch.look()) == 3, 60)
        took = time.monotonic() - died
    print(f"the new leader acted after {took:.2f} s, on a machine that was {late[0]:.2f} s late")
    assert took < TAKEOVER + 3 * late[0]
    now = await holder(fleet)
    assert now is not None
    assert now.holder != first.holder
    assert now.epoch > first.epoch
    await fleet.serving(3)
    watch.look()
    assert watch.most == 3
    assert len(watch.seen) == 4, "one died, one was started, nobody else"


async def test_a_leader_that_sleeps_while_another_takes_over_does_no_harm_when_it_wakes(fleet, until):
    await fleet.declare(Scale.fixed(2), SOURCE)
    scalers = {name: await fleet.scaler_process(name) for name in ("one", "two")}
    await fleet.serving(2)
    first = await holder(fleet)
    assert first is not None
    asleep = scalers[first.holder]
    asleep.send_signal(signal.SIGSTOP)

    async def taken_over() -> bool:
        now = await holder(fleet)
        return now is not None and now.holder != first.holder

    await until(taken_over, 60)
    await fleet.declare(Scale.fixed(3))
    await fleet.serving(3)
    watch = Watch(fleet)
    before = watch.look()
    asleep.send_signal(signal.SIGCONT)
    awake = time.monotonic() + 5
    await until(lambda: watch.look() and time.monotonic() > awake, 60)
    assert watch.seen == before
    await fleet.declare(Scale.fixed(1))
    await fleet.count(1)
    assert asleep.returncode is None, "it stands by"
