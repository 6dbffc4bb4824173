"""What a worker has in hand, and what it handed back, is load; no worker is cut short, whatever its clock says."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from headway.control.records import Lag, Scale

SOURCE = """
import asyncio, os
from headway import Context, Retry, Service

app = Service("app", ack_wait=30, concurrency=1)
runs = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("work", timeout=60)
async def work(request: float, ctx: Context) -> None:
    os.write(runs, b"%d\\n" % ctx.attempt)
    await asyncio.sleep(request)

@app.job("again", retry=Retry(attempts=3, backoff=(4,), jitter=0), timeout=60)
async def again(request: float, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RuntimeError("busy")
    await asyncio.sleep(request)
"""


def runs(tmp_path) -> Counter[str]:
    return Counter((tmp_path / "runs").read_text().split())


async def test_a_scale_in_cuts_no_job_short_and_the_workers_that_have_one_stay(fleet, tmp_path):
    await fleet.declare(Scale(min=1, max=6, down_after=0.5), SOURCE, grace=None)
    await fleet.declare(Scale(min=6, max=6), grace=None)
    await fleet.scaler()
    await fleet.serving(6)
    for _ in range(6):
        await fleet.bus.submit("app", "work", 9, tenant="acme")
    await fleet.until(lambda: runs(tmp_path) == {"1": 6})
    await fleet.declare(Scale(min=1, max=6, down_after=0.5), grace=None)
    await asyncio.sleep(6)
    assert len(fleet.workers()) == 6
    await fleet.empty()
    assert runs(tmp_path) == {"1": 6}, "each job was run once"
    await fleet.count(1)


async def test_a_busy_worker_that_is_too_many_drains_for_as_long_as_its_job_may_take(fleet, tmp_path):
    await fleet.declare(Scale.fixed(3), SOURCE.replace("concurrency=1", "concurrency=8"), grace=None)
    await fleet.scaler()
    await fleet.serving(3)
    for _ in range(12):
        await fleet.bus.submit("app", "work", 9, tenant="acme")
    await fleet.until(lambda: runs(tmp_path) == {"1": 12})
    await fleet.declare(Scale.fixed(1), grace=None)
    await fleet.empty()
    assert runs(tmp_path) == {"1": 12}
    await fleet.count(1)


async def test_retries_that_become_due_together_get_workers_as_fresh_jobs_do(fleet):
    await fleet.declare(Scale(max=6, lag=Lag(drain_within=5)), SOURCE, grace=None)
    await fleet.scaler()
    await fleet.serving(1)
    for _ in range(40):
        await fleet.bus.submit("app", "again", 1, tenant="acme")
    most, began = 0, time.monotonic()
    while (await fleet.bus.js.stream_info("JOBS_app")).state.messages:
        most = max(most, len(fleet.workers()))
        await asyncio.sleep(0.2)
    assert most == 6
    assert time.monotonic() - began < 30, "one worker alone takes 44 s"


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_worker_whose_clock_is_an_hour_off_is_as_well_as_any_other(fleet, ahead):
    clock = f"import time\nreal = time.time\ntime.time = lambda: real() + {ahead}\n"
    await fleet.declare(Scale(min=1, max=3), clock + SOURCE, grace=None)
    await fleet.scaler()
    await fleet.serving(1)
    before = fleet.workers()
    for _ in range(4):
        await fleet.bus.submit("app", "work", 0.5, tenant="acme")
    await fleet.empty()
    await asyncio.sleep(4)
    assert before.keys() <= fleet.workers().keys()
    record = await fleet.record()
    assert (record.health, record.deaths) == ("ok", 0)
