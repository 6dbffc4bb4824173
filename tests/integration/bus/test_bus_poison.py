"""A job that kills its worker: given up by the workers after it, while the jobs beside it are done."""

from __future__ import annotations

import asyncio

SOURCE = """
import asyncio
import os
from pathlib import Path
from pydantic import BaseModel
from headway import Context, Retry, Service

app = Service("app", ack_wait=0.5, concurrency=16)

class Job(BaseModel):
    n: int
    poison: bool = False

def note(text):
    with Path("effects").open("a") as file:
        file.write(text + "\\n")

@app.job("work", retry=Retry(attempts=2, backoff=(0,), jitter=0))
async def work(request: Job, ctx: Context) -> None:
    if request.poison:
        note("poison")
        os._exit(9)
    await asyncio.sleep(0.05)
    note(f"done {request.n}")
"""


async def test_poison_is_given_up_as_worker_lost_and_its_neighbours_are_done(bus, spawn, tmp_path, letters, until):
    worker = await spawn(bus.broker, SOURCE)
    await bus.broker.set_routes({"app": {"v1": 100}})
    deaths = 0

    async def supervise() -> None:
        nonlocal worker, deaths
        while True:
            assert await worker.ended() == 9, worker.log
            deaths += 1
            worker = await spawn(bus.broker, SOURCE, serving=False)

    supervisor = asyncio.ensure_future(supervise())
    try:
        jobs = [{"n": n} for n in range(40)]
        jobs.insert(20, {"n": -1, "poison": True})
        await asyncio.gather(*(bus.submit("app", "work", job, tenant=f"t{n % 8}") for n, job in enumerate(jobs)))

        async def all_done() -> bool:
            assert not supervisor.done(), supervisor.result()
            return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0

        await until(all_done, 45)
        [letter] = await letters(1)
    finally:
        supervisor.cancel()
    effects = (tmp_path / "effects").read_text().split("\n")
    assert {f"done {n}" for n in range(40)} <= set(effects)
    assert (letter.cause, letter.payload) == ("worker_lost", b'{"n":-1,"poison":true}')
    assert letter.reason.startswith("the worker died in ")
    assert letter.attempts >= 2
    assert effects.count("poison") == deaths
    # The first delivery is not recorded, two more are, and the last one is made alone.
    assert 2 <= deaths <= 5, effects
