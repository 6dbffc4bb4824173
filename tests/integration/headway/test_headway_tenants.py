"""Tenants of a running service: queued, in hand, busy and sidelined, as the server and the workers say."""

from __future__ import annotations

import asyncio

from headway import Context, Service
from headway.bus.nats import streams
from headway.bus.worker import queues
from headway.declare import weigh
from headway.status import listen
from headway.tenants import combine, read


async def test_the_backlog_and_the_heartbeats_of_a_flood_are_shown_by_tenant(bus, until):
    app, gate = Service("app", concurrency=8), asyncio.Event()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        await gate.wait()

    async with bus.serving(app) as [worker]:
        names = ["loud", *(f"tenant-{n}" for n in range(24))]
        for name in names:
            for lane in range(8):
                worker._work.backlog.saw(lane, name, asyncio.get_running_loop().time())
        for n in range(400):
            await bus.bus.nc.publish("job.app.loud.work", b"%d" % n)
        await bus.submit("app", "work", 1, tenant="quiet")
        await until(lambda: "loud" in worker._work.backlog.sidelined)
        await until(lambda: worker.beat().in_hand >= 3)
        beats, backlog = await asyncio.gather(listen(bus.bus), read(bus.bus))
        found = {row.tenant: row for row in combine("nats://x", beats, backlog).rows}
        assert backlog.queued["loud"] >= 400
        assert backlog.queued["quiet"] == 1
        assert found["loud"].oldest_s is not None
        assert 0 <= found["loud"].oldest_s < 60
        assert found["loud"].in_hand >= 1
        [aside] = found["loud"].sidelined
        assert (aside.service, aside.version) == ("app", "v1")
        assert "jobs in lane" in aside.why
        gate.set()
        await until(lambda: worker.counters.processed >= 401)
        assert worker.beat().busy["loud"] > 0


async def test_weights_stand_beside_the_queue_and_survive_a_changed_declaration(bus):
    def app(queue_bytes: int) -> Service:
        made = Service("app", queue_bytes=queue_bytes)

        @made.job("work")
        async def work(request: int) -> None: ...

        return made

    await queues.declare(bus.bus.js, app(1 << 20), "v1")
    await weigh(bus.bus, "app", {"acme": 3.0})
    await queues.declare(bus.bus.js, app(1 << 21), "v1")
    config = (await bus.bus.js.stream_info("JOBS_app")).config
    assert (config.max_bytes, streams.weights(config.metadata)) == (1 << 21, {"acme": 3.0})
    assert (await read(bus.bus)).weights == {"acme": 3.0}
    await weigh(bus.bus, "app", {})
    assert (await read(bus.bus)).weights == {}
