"""A handler that ignores its timeout, and all cancelling."""

from __future__ import annotations

import signal

SOURCE = """
import asyncio
from pydantic import BaseModel
from headway import Context, Retry, Service

app = Service("app", ack_wait=5)

class Job(BaseModel):
    n: int = 0

@app.job("work", timeout=0.2, retry=Retry(attempts=2, backoff=(0.1,)))
async def work(request: Job, ctx: Context) -> None:
    print("ATTEMPT", ctx.attempt, flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
"""


async def test_a_worker_ends_without_its_hung_handler_and_the_attempt_counts(bus, spawn, letters):
    await bus.broker.set_routes({"app": {"v1": 100}})
    for attempt in (1, 2):
        worker = await spawn(bus.broker, SOURCE, grace=1)
        if attempt == 1:
            await bus.submit("app", "work", {})
        await worker.says(f"ATTEMPT {attempt}")
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0
    [letter] = await letters(1)
    assert letter.attempts == 2
    assert "took longer than 0.2 s" in letter.reason
