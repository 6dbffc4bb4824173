"""Copies of streams and forcing to disk: the operator says it once, and workers never lower it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import nkeys
import orjson
import pytest

from headway.broker import testing
from headway.broker.broker import Broker
from headway.broker.claims import Account, Limits, decode, encode
from headway.broker.server import find_binary
from headway.broker.testing import TestCluster
from headway.bus import Service, connect
from headway.bus.client.bus import Bus
from headway.bus.errors import StoreError
from headway.bus.nats import jsapi, streams
from headway.bus.worker import queues
from headway.doctor import servers_seen

DEADLINE: Final = 30.0


@pytest.fixture
async def cluster() -> AsyncIterator[TestCluster]:
    async with testing.cluster() as running:
        yield running


def fax(**options: int) -> Service:
    service = Service("fax", **options)

    @service.job("send")
    async def send(_request: None) -> None:
        pass

    return service


async def whole(bus: Bus, what: str, kind: str) -> list[dict[str, Any]]:
    """A list, once it is whole: a stream or consumer that elects its leader is left out of it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found, silent = await jsapi.listed(bus.nc, what, kind)
            if not silent:
                return found


async def copies(bus: Bus) -> dict[str, int]:
    return {one["config"]["name"]: one["config"]["num_replicas"] for one in await whole(bus, "STREAM.LIST", "streams")}


async def test_a_job_stream_gets_the_copies_that_the_operator_set_and_keeps_them(cluster: TestCluster) -> None:
    broker = cluster.broker
    async with await broker.connect("operator") as bus:
        await queues.declare(bus.js, fax(), "v1")
        assert set((await copies(bus)).values()) == {3}
        assert "JOBS_fax" in await copies(bus)
        await queues.declare(bus.js, fax(queue_bytes=1 << 20), "v2")
        info = await bus.js.stream_info("JOBS_fax")
        assert (info.config.max_bytes, info.config.num_replicas) == (1 << 20, 3)
        consumers = await whole(bus, "CONSUMER.LIST.JOBS_fax", "consumers")
        assert {len(one["cluster"]["replicas"]) for one in consumers} == {2}


async def test_another_number_of_copies_reaches_all_streams_and_none_leaves_them(cluster: TestCluster) -> None:
    async with await cluster.broker.connect("control") as bus:
        await queues.declare(bus.js, fax(), "v1")
        await streams.provision(bus.js)
        assert set((await copies(bus)).values()) == {3}
        await streams.provision(bus.js, 1)
        assert set((await copies(bus)).values()) == {1}
        await streams.provision(bus.js, 3)
        assert set((await copies(bus)).values()) == {3}


async def test_streams_of_a_cluster_that_has_just_begun_wait_for_its_last_server() -> None:
    async with testing.cluster(late=1, replicas=None) as begun, await begun.broker.connect("control") as bus:
        async with asyncio.TaskGroup() as group:
            provisioned = group.create_task(streams.provision(bus.js, 3))
            await asyncio.sleep(0.5)
            assert not provisioned.done()
            await begun.servers[-1].start()
        assert set((await copies(bus)).values()) == {3}


async def test_streams_are_made_while_the_leader_of_the_cluster_is_gone(until) -> None:
    async with testing.cluster(replicas=None) as running, await running.broker.connect("control") as bus:

        async def leader() -> str | None:  # who answers late is not among those that are seen
            return next((one.name for one in await servers_seen.look(running.broker) if one.leader), None)

        name = await until(leader)
        killed = next(server for server in running.servers if server.config.name == name)
        await killed.kill()
        async with asyncio.TaskGroup() as group:
            group.create_task(streams.provision(bus.js, 3))
            await until(leader)
            await killed.restart()  # three copies have a place again, whether it was missed meanwhile or not
        assert set((await copies(bus)).values()) == {3}


async def test_streams_of_a_server_that_has_just_begun_wait_until_the_account_may_have_them(tmp_path: Path) -> None:
    async with Broker.start(tmp_path, port=0) as broker, await broker.connect("control") as bus:

        async def push(*, jetstream: bool) -> None:
            claims = decode(broker.identities.account_jwt(), Account)
            body = claims.nats.model_copy(update={"limits": Limits.unlimited(jetstream=jetstream)})
            seed = orjson.loads((tmp_path / "keys.json").read_bytes())["operator"]
            token = encode(claims.model_copy(update={"nats": body}), nkeys.from_seed(seed.encode()))
            async with await broker.system() as system:
                await system.nc.request("$SYS.REQ.CLAIMS.UPDATE", token.encode(), timeout=DEADLINE)

        await push(jetstream=False)
        async with asyncio.TaskGroup() as group:
            provisioned = group.create_task(streams.provision(bus.js, 1))
            await asyncio.sleep(0.5)
            assert not provisioned.done()
            await push(jetstream=True)
        assert set((await copies(bus)).values()) == {1}


async def test_streams_wait_for_a_server_that_comes_back_with_jetstream(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"

    async def server(*options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            find_binary(), "-a", "127.0.0.1", "-p", str(port), *options, stderr=asyncio.subprocess.DEVNULL
        )

    running = await server()
    try:
        async with await connect(url, timeout=DEADLINE) as bus, asyncio.TaskGroup() as group:
            provisioned = group.create_task(streams.provision(bus.js, 1))
            await asyncio.sleep(0.5)
            assert not provisioned.done()
            running.kill()
            await running.wait()
            running = await server("-js", "-sd", str(tmp_path))
            async with asyncio.timeout(DEADLINE):
                await provisioned
    finally:
        running.kill()
        await running.wait()


async def test_more_copies_than_servers_are_refused_with_a_remedy(nats_broker: Broker) -> None:
    async with await nats_broker.connect("control") as bus:
        with pytest.raises(StoreError) as caught:
            await streams.provision(bus.js, 3)
    assert caught.value.remedy == "use at most one replica per running server"


@pytest.mark.parametrize(("interval", "said"), [("always", True), ("2m", None)])
async def test_the_server_forces_each_message_to_disk_if_told_so(tmp_path: Path, interval: str, said: object) -> None:
    async with Broker.start(tmp_path, port=0, ws_port=None, sync_interval=interval) as broker:
        system = await broker.system()
        reply = orjson.loads((await system.nc.request("$SYS.REQ.SERVER.PING.JSZ", b"", timeout=5)).data)
    assert reply["data"]["config"].get("sync_always") is said
