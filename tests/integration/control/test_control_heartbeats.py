"""Heartbeats as all that have use for them hear them."""

from __future__ import annotations

import asyncio

import pytest

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


@pytest.mark.parametrize(
    ("subject", "reply", "told"),
    [
        ("beat.app.v1.w1", "_INBOX.x", False),
        ("beat.app.v1.w1", "", True),  # as JetStream does it
        ("beat.other.v1.w1", "_INBOX.x", True),
        ("beat.app.v2.w1", "_INBOX.x", True),
        ("beat.app.v1.w2", "_INBOX.x", True),
        ("beat.app.v1", "_INBOX.x", True),
    ],
)
async def test_the_subject_decides_whose_a_heartbeat_is_and_what_disagrees_is_counted(
    nats_broker, until, subject, reply, told
):
    beats: list[Beat] = []
    async with (
        await nats_broker.connect("control") as control,
        await nats_broker.connect("operator") as operator,
        await nats_broker.connect("worker", service="app") as bus,
        heard(control, beats.append) as refused,
    ):
        beat = Worker(Service("app"), bus, name="w1").beat()
        await control.flush()
        await operator.nc.publish(subject, beat.model_dump_json().encode(), reply=reply)
        await until(lambda: beats or refused)
        assert (beats == [beat], sum(refused.values())) == (not told, int(told))


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
