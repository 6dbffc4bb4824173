"""Planted faults: where a promise cannot be kept, because a stream has one copy only or a service acknowledges before
its effect, the checker says which one was broken. With three copies, or the effect first, it has nothing to say.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from headway.broker import testing
from headway.bus.nats import streams
from headway.bus.nats.streams import OBJECTS
from headway.bus.worker import queues
from headway.bus.worker.worker import Worker
from tests.zones import copies
from tests.zones.checker import check
from tests.zones.history import NEMESIS, History, load, merged
from tests.zones.load import requests, things
from tests.zones.load.client import Client
from tests.zones.promises import jobs, objects
from tests.zones.service import chaos

JOBS = streams.jobs_stream(chaos.name)
TENANT = "acme"


@pytest.mark.parametrize(("replicas", "found"), [(1, {jobs.LOST, objects.LOST}), (3, set())])
async def test_servers_that_die_with_their_disks_cost_what_had_one_copy(replicas, found, tmp_path, until):
    history, effects = History(tmp_path / "history.jsonl"), tmp_path / "effects.jsonl"
    effects.touch()
    async with (
        testing.cluster(replicas=replicas) as cluster,
        await cluster.broker.connect("operator") as bus,
        await cluster.broker.connect("operator") as load_bus,
    ):
        await cluster.broker.set_routes({chaos.name: {"v1": 100}})
        await queues.declare(bus.js, chaos, "v1")
        stop = asyncio.Event()
        tenant = load_bus.tenant(TENANT)
        loads = [
            asyncio.ensure_future(requests.submit(Client(history, "submit", stop), tenant)),
            asyncio.ensure_future(things.write(Client(history, "write", stop), tenant, random.Random(1))),
        ]
        await until(lambda: sum(entry.type == "ok" for entry in history.entries) > 40)
        stop.set()
        await asyncio.gather(*loads)
        for stream in (JOBS, OBJECTS):
            await until(lambda: copies.complete(bus.js, replicas))
            leader = (await bus.js.stream_info(stream)).cluster.leader
            [server] = [server for server in cluster.servers if server.config.name == leader]
            history.write(NEMESIS, "invoke", "lose", leader)
            await server.kill()
            shutil.rmtree(server.config.store)
            await server.start()
            history.write(NEMESIS, "ok", "lose")
        await until(lambda: copies.complete(bus.js, replicas))
        async with Worker(chaos, bus, config={"effects": str(effects)}):
            await until(lambda: empty(bus))
        history.write("end", "seen", "objects", await things.state(bus.tenant(TENANT)))
    findings = {finding.promise for finding in check(merged(history.entries, load(effects)))}
    assert findings == found


async def empty(bus) -> bool:
    return (await bus.js.stream_info(JOBS)).state.messages == 0


SOURCE = "from tests.zones.service import chaos as app"


@pytest.mark.parametrize(("early", "found"), [(True, {jobs.LOST}), (False, set())])
async def test_a_worker_that_is_killed_costs_what_it_acknowledged_before_the_effect(
    early, found, bus, spawn, tmp_path, until
):
    history, effects = History(tmp_path / "history.jsonl"), tmp_path / "effects.jsonl"
    effects.touch()
    root = Path(__file__).parents[2]
    options = {"service": chaos.name, "config": {"effects": str(effects), "early": early}}
    await bus.broker.set_routes({chaos.name: {"v1": 100}})
    worker = await spawn(bus.broker, SOURCE, env={"PYTHONPATH": str(root)}, **options)
    stop = asyncio.Event()
    submitting = asyncio.ensure_future(requests.submit(Client(history, "submit", stop), bus.tenant(TENANT)))
    await until(lambda: effects.read_text().count("\n") > 20)
    history.write(NEMESIS, "invoke", "kill-worker")
    await worker.kill()
    await spawn(bus.broker, SOURCE, env={"PYTHONPATH": str(root)}, **options)
    history.write(NEMESIS, "ok", "kill-worker")
    stop.set()
    await submitting
    await until(lambda: empty(bus.bus))
    await asyncio.sleep(1.5)  # effects that come after the acknowledgement have come by then, or never
    assert {finding.promise for finding in check(merged(history.entries, load(effects)))} == found
