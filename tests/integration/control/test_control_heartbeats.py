"""Heartbeats as all that have use for them hear them."""

from __future__ import annotations

import asyncio

from headway import Service, Worker
from headway.bus.wire.beat import Beat
from headway.control.heartbeats import heard


async def test_all_ears_hear_each_beat_and_none_hears_what_cannot_be_read(nats_broker, until):
    one: list[Beat] = []
    other: list[Beat] = []
    async with (
        await nats_broker.connect("control") as control,
        await nats_broker.connect("worker", service="app") as bus,
        heard(control, one.append, other.append),
    ):
        await control.flush()
        await bus.publish("beat.app.v1.older", b'{"worker": "older"}')
        async with Worker(Service("app"), bus) as worker:
            await until(lambda: one and one[-1].state == "serving")
        await until(lambda: one[-1].state == "stopped")
        assert {beat.worker for beat in one} == {worker.name}
        assert one == other


async def test_none_is_heard_after_the_end(nats_broker, until):
    beats: list[Beat] = []
    async with (
        await nats_broker.connect("control") as control,
        await nats_broker.connect("worker", service="app") as bus,
        Worker(Service("app"), bus),
    ):
        async with heard(control, beats.append):
            await until(lambda: beats)
        count = len(beats)
        await asyncio.sleep(1.5)  # more than the time between two beats
        assert len(beats) == count
