"""On three servers: what is asked while they elect a leader, while copies are behind, and while one is frozen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from headway.broker import testing
from headway.broker.server import Server
from headway.bus import Conflict, ConnectionFailed, NotStored, Receipt, Service
from headway.bus.nats import values
from headway.bus.nats.streams import OBJECTS, jobs_stream
from headway.bus.worker import queues

AT_ONCE = 12

app = Service("app")


@app.job("work")
async def work(_request: int) -> None:
    pass


@pytest.fixture
async def cluster():
    async with testing.cluster() as made:
        yield made


@pytest.fixture
async def operator(cluster):
    async with await cluster.broker.connect("operator") as bus:
        yield bus


def named(cluster, name: str) -> Server:
    [found] = [server for server in cluster.servers if server.config.name == name]
    return found


async def test_of_many_compare_and_sets_at_once_one_wins_and_the_others_hear_of_a_conflict(operator):
    # While one is being replicated the server refuses others with an error of its own, which names no sequence.
    objects = operator.tenant("acme").objects
    for turn in range(15):
        writes = (objects.put("thing", f"o{turn}", n, expect=0) for n in range(AT_ONCE))
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(isinstance(end, int) for end in ends) == 1, ends
        assert sum(isinstance(end, Conflict) for end in ends) == AT_ONCE - 1, ends


async def test_a_job_submitted_many_times_at_once_under_one_key_is_acknowledged_each_time(cluster, operator):
    # While it is being replicated the server refuses the others: they cannot be acknowledged yet.
    await cluster.broker.set_routes({"app": {"v1": 100}})
    await queues.declare(operator.js, app, "v1")
    for turn in range(15):
        key = f"k{turn}"
        receipts = await asyncio.gather(
            *(operator.submit("app", "work", 1, tenant="acme", key=key) for _ in range(AT_ONCE))
        )
        assert all(isinstance(receipt, Receipt) for receipt in receipts)
        assert len({receipt.seq for receipt in receipts}) == 1
    assert (await operator.js.stream_info(jobs_stream("app"))).state.messages == 15


async def test_objects_are_read_and_written_while_a_leader_is_elected(cluster, operator, until):
    objects = operator.tenant("acme").objects
    await objects.put("thing", "o1", "before")
    leader = (await operator.js.stream_info(OBJECTS)).cluster.leader
    await named(cluster, leader).kill()

    async def written() -> bool:
        try:
            await objects.put("thing", "o2", "during")
        except NotStored:
            return False  # the connection may have gone with the server, and the answer with it
        return True

    async def read() -> bool:
        try:
            found = await objects.get("thing", "o1", as_=str)
        except ConnectionFailed:
            return False
        return found is not None and found.value == "before"

    async with asyncio.TaskGroup() as group:  # any other error ends it
        group.create_task(until(written))
        group.create_task(until(read))


async def test_without_a_majority_the_store_is_away_and_not_missing(cluster, operator):
    objects = operator.tenant("acme").objects
    await objects.put("thing", "o1", "before")
    connected = operator.nc.connected_url.port
    others = [server for server in cluster.servers if server.config.port != connected]
    for server in others:
        await server.kill()
    with pytest.raises(NotStored):
        await objects.put("thing", "o1", "after")
    with contextlib.suppress(ConnectionFailed):  # who leads does so until it has noticed, and answers
        assert await objects.get("thing", "unknown", as_=str) is None


async def test_a_worker_hears_from_the_leader_that_there_is_no_such_object(cluster, operator):
    async with await cluster.broker.connect("worker", service="app") as worker:
        assert await worker.tenant("acme").objects.get("thing", "unknown", as_=str) is None
        await worker.tenant("acme").objects.put("thing", "o1", {"text": "ä"})
        await worker.tenant("acme").objects.delete("thing", "o1")
        assert await worker.tenant("acme").objects.get("thing", "o1", as_=dict) is None
        assert await values.newest(worker.js, OBJECTS, "obj.acme.thing.unknown") is None


async def test_the_leader_tells_the_same_of_a_value_as_a_replica(operator, until):
    await operator.tenant("acme").objects.put("thing", "o1", {"text": "ä"})
    await operator.tenant("acme").objects.delete("thing", "o2")
    for subject in ("obj.acme.thing.o1", "obj.acme.thing.o2"):
        leader = await values.newest(operator.js, OBJECTS, subject)
        assert leader is not None

        async def same(leader=leader, subject=subject) -> bool:
            replica = await values.last(operator.js, OBJECTS, subject)
            fields = {name: value for name, value in (replica.headers or {}).items() if name in leader.headers}
            return (replica.data, fields) == (leader.data, leader.headers)

        await until(same)  # a replica may be behind for a moment


async def test_a_frozen_server_is_left_for_another_one(cluster, operator, until):
    port = operator.nc.connected_url.port
    [frozen] = [server for server in cluster.servers if server.config.port == port]
    assert frozen.pid is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        await until(lambda: operator.nc.is_connected and operator.nc.connected_url.port != port, 25)
        assert await operator.flush()
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
