"""Everything dies at random while everything is used: workers, zygotes, scalers, the NATS server."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from collections import Counter

import pytest

from headway import HeadwayError
from headway.control.records import Lag, Scale
from tests.support.scaling import zygotes

SECONDS = 60.0 if os.environ.get("CI") == "true" else 15.0
BOUND = 30.0
"""Seconds within which a caller that tries again gets its answer, whatever died meanwhile; 20 of them are for the
machine this runs on."""

CALLS = """
from headway import Context, Service

app = Service("calls")

@app.rpc("double", timeout=5)
async def double(request: int, ctx: Context) -> int:
    return 2 * request
"""
FAXES = """
import asyncio, os
from headway import Context, Retry, Service

app = Service("faxes", ack_wait=2, concurrency=8)
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

# Random kills say nothing of a message: far more attempts than there are kills.
@app.job("send", timeout=30, retry=Retry(attempts=100, backoff=(0.1,)))
async def send(request: int, ctx: Context) -> None:
    await asyncio.sleep(0.05)
    os.write(effects, b"%d\\n" % request)
"""


class Load:
    """Callers and submitters that try again until they have what they want."""

    def __init__(self, bus) -> None:
        self.bus = bus
        self.stop = asyncio.Event()
        self.calls = 0
        self.jobs = 0
        self.slowest = 0.0
        self.failures: Counter[str] = Counter()

    async def _until_it_works(self, what):
        began = time.monotonic()
        while True:
            try:
                found = await what()
            except HeadwayError as error:
                self.failures[error.code] += 1
                assert time.monotonic() - began < BOUND, f"no answer for {BOUND:g} s: {error}"
                await asyncio.sleep(0.05)
            else:
                return found, time.monotonic() - began

    async def call(self) -> None:
        while not self.stop.is_set():
            n, self.calls = self.calls, self.calls + 1
            found, took = await self._until_it_works(
                lambda n=n: self.bus.call("calls", "double", n, tenant="t", timeout=2)
            )
            assert found == 2 * n
            self.slowest = max(self.slowest, took)
            await asyncio.sleep(0.01)

    async def submit(self) -> None:
        while not self.stop.is_set():
            n, self.jobs = self.jobs, self.jobs + 1
            await self._until_it_works(
                lambda n=n: self.bus.submit("faxes", "send", n, tenant=f"t{n % 20}", key=f"fax-{n}", timeout=2)
            )
            await asyncio.sleep(0.01)


class Monkey:
    """Kills at random, by a seed; what nobody else starts again, it does."""

    def __init__(self, fleet, chance: random.Random) -> None:
        self.fleet, self.chance = fleet, chance
        self.done: Counter[str] = Counter()
        self.scalers: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        for name in ("one", "two"):
            self.scalers[name] = await self.fleet.scaler_process(name)

    async def rage(self, seconds: float) -> None:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            await asyncio.sleep(self.chance.uniform(0.3, 1.7))
            [act] = self.chance.choices(
                [
                    self.kill_worker,
                    self.stop_worker,
                    self.freeze_worker,
                    self.kill_zygote,
                    self.kill_scaler,
                    self.kill_server,
                ],
                [8, 2, 2, 2, 3, 1.5],
            )
            self.done[act.__name__] += 1
            await act()

    def _victim(self, pids: list[int]) -> int | None:
        return self.chance.choice(sorted(pids)) if pids else None

    def _signal(self, pids: list[int], number: int) -> None:
        victim = self._victim(pids)
        if victim is not None:
            os.kill(victim, number)

    async def kill_worker(self) -> None:
        self._signal([*self.fleet.workers().values()], signal.SIGKILL)

    async def stop_worker(self) -> None:
        self._signal([*self.fleet.workers().values()], signal.SIGTERM)

    async def freeze_worker(self) -> None:
        self._signal([*self.fleet.workers().values()], signal.SIGSTOP)

    async def kill_zygote(self) -> None:
        self._signal(zygotes(self.fleet.run), signal.SIGKILL)

    async def kill_scaler(self) -> None:
        name = self.chance.choice(sorted(self.scalers))
        self.scalers[name].kill()
        await self.scalers[name].wait()
        self.scalers[name] = await self.fleet.scaler_process(name)

    async def kill_server(self) -> None:
        await self.fleet.broker.server.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        await self.fleet.broker.server.start()


@pytest.mark.timeout(600)
async def test_whatever_dies_nothing_is_lost_calls_are_answered_and_all_counts_come_back(fleet, tmp_path, until):
    seed = int(os.environ.get("HEADWAY_CHAOS_SEED") or secrets.randbits(32))
    print(f"seed {seed}: HEADWAY_CHAOS_SEED={seed} repeats what is killed, and in which order")
    await fleet.declare(Scale.fixed(3), CALLS, service="calls", calls=True)
    await fleet.declare(Scale(min=2, max=4, down_after=3, lag=Lag(drain_within=4)), FAXES, service="faxes", grace=3)
    monkey, load = Monkey(fleet, random.Random(seed)), Load(fleet.bus)
    await monkey.start()
    await fleet.serving(3, "calls")
    await fleet.serving(2, "faxes")
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(load.call())
            group.create_task(load.submit())
        await monkey.rage(SECONDS)
        load.stop.set()
    print(f"{dict(monkey.done)}; {load.calls} calls, the slowest answered after {load.slowest:.1f} s, {load.jobs} jobs")
    print(f"tried again after {dict(load.failures)}")
    await fleet.empty("faxes", 120)
    effects = Counter((tmp_path / "effects").read_text().split())
    assert set(effects) == {str(n) for n in range(load.jobs)}, "a job was lost"
    print(f"{effects.total() - load.jobs} jobs were done again")
    assert (await fleet.bus.js.stream_info("DEAD")).state.messages == 0
    for service, least in (("calls", 3), ("faxes", 2)):
        await fleet.serving(least, service)
        assert (await fleet.record(service)).desired == least
