"""Clocks that disagree, and that are set: time limits are durations, measured by whoever keeps them."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from headway import Context, DeadlineExceeded, NotStored, Service, connect

SOURCE = """
import asyncio, time
from headway import Context, Retry, Service

app = Service("app", ack_wait=2)

@app.rpc("left", timeout=30)
async def left(request: None, ctx: Context) -> dict[str, float]:
    await asyncio.sleep(0.05)
    return {"left": ctx.remaining(), "clock": time.time()}

@app.rpc("slow", timeout=30)
async def slow(request: None) -> None:
    await asyncio.sleep(60)

@app.job("work", timeout=1, retry=Retry(attempts=2, backoff=(0.1,), jitter=0))
async def work(request: float, ctx: Context) -> None:
    print("ATTEMPT", ctx.attempt, round(ctx.remaining(), 1), flush=True)
    await asyncio.sleep(request)
    await ctx.emit("worked", {}, key="once")
    print("DONE", flush=True)
"""


@pytest.fixture
def skewed(missing):
    """`skewed(-60)`: the environment of a process whose clock differs from this machine's by so many seconds."""
    found = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if shutil.which("faketime") is None or not found:
        missing("faketime is not installed: apt-get install faketime")

    def environment(seconds: int) -> dict[str, str]:
        return {"LD_PRELOAD": str(found[0]), "FAKETIME": f"{seconds:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    return environment


@pytest.mark.parametrize("skew", [-60, -3, 3, 60])
async def test_calls_and_jobs_do_not_mind_a_worker_whose_clock_differs(bus, spawn, letters, skewed, skew):
    worker = await spawn(bus.broker, SOURCE, env=skewed(skew))
    await bus.broker.set_routes({"app": {"v1": 100}})
    for _ in range(5):
        answer = await bus.call("app", "left", timeout=2)
        assert answer["clock"] - time.time() == pytest.approx(skew, abs=1.5)  # or this test shows nothing
        assert 1 < answer["left"] < 2
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await bus.call("app", "slow", timeout=0.5)
    assert 0.4 < time.monotonic() - began < 3
    await bus.submit("app", "work", 0)
    await worker.says("ATTEMPT 1 1.0")
    await worker.says("DONE")
    await bus.submit("app", "work", 30)
    [letter] = await letters(1)
    assert letter.attempts == 2
    assert "took longer than 1 s" in letter.reason


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_a_clock_that_is_set_changes_no_time_limit(bus, link, monkeypatch, step):
    async with await connect(link.url, creds=bus.broker.identities.creds("operator")) as caller:
        link.cut()
        real, began = time.time, time.monotonic()
        monkeypatch.setattr(time, "time", lambda: real() + (step if time.monotonic() - began > 0.3 else 0))
        with pytest.raises(NotStored):
            await caller.submit("app", "work", 1, tenant="acme", timeout=1.5)
        with pytest.raises(DeadlineExceeded):
            await caller.call("app", "left", None, tenant="acme", timeout=0.5)
        assert 1.2 < time.monotonic() - began < 8
        link.mend()


async def test_a_call_that_waited_for_its_connection_is_sent_with_what_is_left_or_not_at_all(bus, link, until):
    app, started = Service("app"), []

    @app.rpc("left", timeout=30)
    async def left(request: str, ctx: Context) -> float | None:
        started.append(request)
        return ctx.remaining()

    creds = bus.broker.identities.creds("operator")
    async with bus.serving(app), await connect(link.url, creds=creds) as caller:
        assert await caller.call("app", "left", "before", tenant="acme", timeout=10) > 5
        link.cut()
        await until(lambda: not caller.nc.is_connected)
        waiting = asyncio.ensure_future(caller.call("app", "left", "during", tenant="acme", timeout=10))
        with pytest.raises(DeadlineExceeded):
            await caller.call("app", "left", "given up", tenant="acme", timeout=1)
        link.mend()
        assert 0 < await waiting <= 9.1
        await asyncio.sleep(0.2)
    assert started == ["before", "during"]
