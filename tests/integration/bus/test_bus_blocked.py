"""A job that blocks the event loop: told apart by file and line, retried alone, buried with where it stood."""

from __future__ import annotations

import asyncio

SOURCE = """
import time
from headway import Context, Retry, Service

app = Service("app", ack_wait=1)

def grind():
    time.sleep(600)  # blocks

@app.job("block", retry=Retry(attempts=2, backoff=(0,), jitter=0))
async def block(request: int, ctx: Context) -> None:
    print("ATTEMPT", ctx.attempt, flush=True)
    grind()

@app.job("brief")
async def brief(request: int) -> None:
    time.sleep(3)

@app.job("innocent")
async def innocent(request: int) -> None:
    print("INNOCENT", flush=True)
"""


async def test_a_job_that_blocks_the_event_loop_is_told_apart_by_file_and_line(bus, spawn, letters):
    await bus.broker.set_routes({"app": {"v1": 100}})
    worker = await spawn(bus.broker, SOURCE)
    await bus.submit("app", "block", 1)
    for attempt in (1, 2):
        if attempt == 2:
            worker = await spawn(bus.broker, SOURCE)
        await worker.says(f"ATTEMPT {attempt}")
        await worker.says("blocked the event loop for 2 s at app.py:8 in grind < app.py:13 in block")
        record = f"$KV.ATTEMPTS.app.{bus.broker.identities.seal('app')}.JOBS_app.1"
        await recorded(bus, record, attempt - 1)
        await worker.kill()  # as the scaler does with a silent one
    worker = await spawn(bus.broker, SOURCE)
    await bus.submit("app", "innocent", 1)
    await worker.says("INNOCENT")
    [letter] = await letters(1)
    assert (letter.cause, letter.attempts) == ("blocked_loop", 2)
    assert letter.reason.startswith("it blocked the event loop at app.py:8 in grind < app.py:13 in block")


async def recorded(bus, subject: str, crashes: int) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await bus.bus.nc.request(f"$JS.API.DIRECT.GET.KV_ATTEMPTS.{subject}", b"")
            if b"app.py:8" in found.data and b'"crashes":%d' % crashes in found.data:
                return
            await asyncio.sleep(0.05)


async def test_a_job_that_blocks_for_a_while_and_ends_is_done(bus, spawn, until):
    await bus.broker.set_routes({"app": {"v1": 100}})
    worker = await spawn(bus.broker, SOURCE)
    await bus.submit("app", "brief", 1)
    await worker.says("blocked the event loop for 2 s at app.py:17 in brief")

    async def done() -> bool:
        return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0

    await until(done)
    assert (await bus.bus.js.stream_info("DEAD")).state.messages == 0
