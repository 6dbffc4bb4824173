"""Several workers on the same lanes: what one of them was told that a lane holds, another may have taken."""

from __future__ import annotations

import asyncio

from headway import Context, Service
from headway.bus.wire.subjects import COMMON

JOBS = 200
CONCURRENCY = 2


async def test_lanes_that_others_have_emptied_do_not_hold_up_the_one_that_is_left(bus, until):
    """A worker with two slots is told that all lanes hold something; then all but one of them are emptied by another.

    Its next requests go to lanes where nothing is left, and it has slots for two of them at a time.
    """
    app = Service("app", concurrency=CONCURRENCY)
    begun, done, gate = [], [], asyncio.Event()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        begun.append(request)
        await gate.wait()
        done.append(request)

    async with bus.serving(app):
        await asyncio.gather(*(bus.submit("app", "work", n, tenant=f"tenant-{n}") for n in range(JOBS)))
        await until(lambda: len(begun) == CONCURRENCY)

        async def take(lane: int) -> int:
            """What is left of a lane, taken as another worker would."""
            pulled, taken = await bus.bus.js.pull_subscribe_bind(f"v1-{lane}", "JOBS_app"), 0
            while (await bus.bus.js.consumer_info("JOBS_app", f"v1-{lane}")).num_pending:
                for message in await pulled.fetch(10, timeout=5):
                    await message.ack_sync()
                    taken += 1
            return taken

        infos = await bus.bus.js.consumers_info("JOBS_app")
        holding = [int(info.name.rpartition("-")[2]) for info in infos if info.num_pending]
        assert len(holding) > COMMON // 2, "too few lanes: it shows nothing"
        taken = await asyncio.gather(*(take(lane) for lane in holding[:-1]))
        gate.set()
        # Half of what a standing request's expiry would let it wait.
        await until(lambda: len(done) + sum(taken) >= JOBS, 15)
        assert (await bus.bus.js.stream_info("JOBS_app")).state.messages <= CONCURRENCY
