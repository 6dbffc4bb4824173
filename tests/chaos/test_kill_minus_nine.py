"""A worker that is killed in the middle of its work, again and again."""

from __future__ import annotations

import asyncio
from collections import Counter

from headway import NotServed

JOBS = 5_000
KILLS = 10
TENANTS = 40
CONCURRENCY = 64

SOURCE = f"""
import asyncio
import os
from pydantic import BaseModel
from headway import Retry, Service

app = Service("app", ack_wait=1.0, concurrency={CONCURRENCY})

class Job(BaseModel):
    n: int

effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
starts = os.open("starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("work", retry=Retry(attempts=5))
async def work(request: Job) -> None:
    # One write() each: what is written stays written when the process is killed, and is never half a line.
    os.write(starts, b"%d\\n" % request.n)
    await asyncio.sleep(0.2)
    os.write(effects, b"%d\\n" % request.n)
"""


async def test_ten_kills_in_5000_jobs_lose_none_and_repeat_at_most_what_was_in_hand(bus, spawn, tmp_path, until):
    """How the repeats are bounded.

    A job runs again only because its acknowledgement did not reach the server: at the kill the server counts it as
    delivered and not acknowledged. So the lanes' `num_ack_pending`, read when the process is dead and nobody is
    connected, is what the server delivers again because of this kill: nothing is added, for nobody pulls, and
    nothing taken away, for nobody acknowledges. Before the next kill the test waits until all of that is in the
    new worker's hands (no more is pending than it may have), so nothing is counted for two kills, and the sum of the
    readings bounds the repeats. Each reading is itself what one worker may have in hand, and at most one standing
    request per lane that it had not looked at yet.
    """
    js = bus.bus.js
    worker = await spawn(bus.broker, SOURCE)
    await bus.broker.set_routes({"app": {"v1": 100}})

    def lines(name: str) -> list[str]:
        return (tmp_path / name).read_text().split()

    async def in_hand() -> int:
        infos = await asyncio.gather(*(js.consumer_info("JOBS_app", f"v1-{lane}") for lane in range(16)))
        return sum(info.num_ack_pending for info in infos)

    async def settled() -> bool:
        return 0 < await in_hand() <= CONCURRENCY

    async def disconnected() -> bool:
        try:
            await bus.bus.request("$SRV.PING.app", b"", 1, {})
        except NotServed:
            return True
        return False

    gate = asyncio.Semaphore(64)

    async def submit(n: int) -> None:
        async with gate:
            await bus.submit("app", "work", {"n": n}, tenant=f"tenant-{n % TENANTS}", timeout=30)

    submitting = asyncio.gather(*(submit(n) for n in range(JOBS)))
    at_kill: list[int] = []
    for kill in range(1, KILLS + 1):
        reached = kill * JOBS // (KILLS + 2)
        await until(lambda reached=reached: len(lines("effects")) >= reached)
        await until(settled)
        await worker.kill()
        await until(disconnected)  # until then an acknowledgement could still be under way
        at_kill.append(await in_hand())
        worker = await spawn(bus.broker, SOURCE)
    await submitting

    async def all_done() -> bool:
        return (await js.stream_info("JOBS_app")).state.messages == 0

    await until(all_done)
    effects, starts = Counter(lines("effects")), Counter(lines("starts"))
    print(f"in hand at each kill: {at_kill}, executions: {starts.total()}, effects: {effects.total()}")
    assert set(effects) == {str(n) for n in range(JOBS)}, "an effect is missing"
    assert (await js.stream_info("DEAD")).state.messages == 0
    assert min(at_kill) > 0, "a kill hit an idle worker: it shows nothing"
    assert 0 < starts.total() - JOBS <= sum(at_kill)
    assert max(at_kill) <= CONCURRENCY + 16
