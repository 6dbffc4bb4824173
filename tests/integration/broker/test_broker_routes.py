"""Routes on real servers: shares, no loss, confirmation by each one, and the old ones standing when one refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from broker.broker import Broker
from broker.claims import WeightedMapping
from broker.config import FREE_PORT, Cluster, ServerConfig, Trust
from broker.errors import BadRoutes, NoAuthority, RouteRefused
from broker.identity import Identities
from broker.routes import Pusher
from broker.server import Server
from bus.client import Bus, connect


async def answering(bus: Bus, version: str) -> None:
    """Serve rpc.fax.<version>.*.* by answering with the version."""

    async def answer(message: Msg) -> None:
        await message.respond(version.encode())

    await bus.nc.subscribe(f"rpc.fax.{version}.*.*", queue=f"fax-{version}", cb=answer)
    await bus.nc.flush()


async def ask(bus: Bus) -> str:
    return (await bus.nc.request("rpc.fax.acme.status", b"", timeout=2)).data.decode()


async def test_traffic_is_shared_out_by_weight(nats_broker: Broker) -> None:
    async with await nats_broker.connect("operator") as bus:
        await answering(bus, "v1")
        await answering(bus, "v2")
        await nats_broker.set_routes({"fax": {"v1": 95, "v2": 5}})
        shares = Counter([await ask(bus) for _ in range(2000)])
    assert shares.total() == 2000
    assert 50 <= shares["v2"] <= 160  # 100 are expected; 5 standard deviations are 49


async def test_no_request_is_lost_over_fifty_shifts_under_callers(nats_broker: Broker) -> None:
    async with await nats_broker.connect("operator") as bus, await nats_broker.connect("operator") as caller:
        await answering(bus, "v1")
        await answering(bus, "v2")
        await nats_broker.set_routes({"fax": {"v1": 100}})
        stop = asyncio.Event()
        seen: Counter[str] = Counter()

        async def call() -> None:
            while not stop.is_set():
                seen[await ask(caller)] += 1  # raises if it is lost

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(call())
            for shift in range(50):
                weight = shift * 37 % 101
                await nats_broker.set_routes({"fax": {"v1": 100 - weight, "v2": weight}})
            stop.set()
    assert seen["v1"] > 0
    assert seen["v2"] > 0


async def test_jobs_are_stored_under_their_version_and_their_tenants_lane(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v2": 100}})
    async with await nats_broker.connect("operator") as bus:
        await bus.js.add_stream(name="JOBS_fax", subjects=["job.fax.*.*.*.*"])
        for tenant in ["acme", "acme", *(f"tenant-{n}" for n in range(60))]:
            await bus.submit("fax", "send", {}, tenant=tenant)
        state = await bus.js.stream_info("JOBS_fax", subjects_filter=">")
    subjects = state.state.subjects or {}
    lanes = {subject.split(".")[4]: subject.split(".")[3] for subject in subjects}
    assert len(lanes) == 61
    assert subjects[f"job.fax.v2.{lanes['acme']}.acme.send"] == 2
    assert len(set(lanes.values())) >= 14
    assert set(map(int, lanes.values())) <= set(range(16))


async def test_a_service_that_is_left_out_is_no_longer_served(nats_broker: Broker) -> None:
    async with await nats_broker.connect("operator") as bus:
        await answering(bus, "v1")
        await nats_broker.set_routes({"fax": {"v1": 100}})
        assert await ask(bus) == "v1"
        await nats_broker.set_routes({})
        with pytest.raises(Exception, match="no responders"):
            await ask(bus)
    assert await nats_broker.routes() == {}


async def test_bad_routes_change_nothing(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}})
    with pytest.raises(BadRoutes):
        await nats_broker.set_routes({"fax": {"v2": 90}})
    assert await nats_broker.routes() == {"fax": {"v1": 100}}


async def test_a_refused_push_names_the_server_and_the_old_routes_stand(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}})
    identities = nats_broker.identities
    too_much = {"rpc.fax.*.*": [WeightedMapping(subject=f"rpc.fax.v{n}.a.b", weight=90) for n in (1, 2)]}
    bad = identities.account_jwt(too_much)
    async with await connect(nats_broker.url, creds=identities.mint_system().text) as system:
        with pytest.raises(RouteRefused, match="server headway") as caught:
            await Pusher(system.nc).push(bad, None)
    assert caught.value.servers == ("headway",)
    assert await nats_broker.routes() == {"fax": {"v1": 100}}


async def test_without_its_keys_the_routes_of_an_external_server_are_out_of_reach(nats_broker: Broker) -> None:
    there = Broker.external(nats_broker.url, creds=nats_broker.identities.creds("operator"))
    with pytest.raises(NoAuthority) as caught:
        await there.set_routes({"fax": {"v1": 100}})
    assert nats_broker.url in str(caught.value)
    with pytest.raises(NoAuthority):
        await there.routes()


@dataclass
class Cluster3:
    servers: list[Server]
    broker: Broker


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster3]:
    """Three servers, each of which knows of the other two."""
    identities = Identities.create_or_load(tmp_path)
    accounts = {identities.system: identities.system_jwt(), identities.account: identities.account_jwt()}
    trust = Trust(identities.operator_jwt(), identities.system, accounts)
    ports = [free_port() for _ in range(3)]
    urls = tuple(f"nats://127.0.0.1:{port}" for port in ports)
    async with AsyncExitStack() as stack:
        servers = []
        for index, port in enumerate(ports):
            config = ServerConfig(
                name=f"n{index}",
                store=tmp_path / f"n{index}",
                trust=trust,
                port=FREE_PORT,
                ws_port=None,
                cluster=Cluster("headway", port, tuple(url for url in urls if not url.endswith(f":{port}"))),
            )
            servers.append(await stack.enter_async_context(Server(config)))
        broker = Broker.external(servers[0].url, dir=tmp_path)
        stack.push_async_callback(broker.close)
        async with asyncio.timeout(10), connected_pusher(broker) as pusher:
            while len((await pusher.servers())[0]) < 3:  # noqa: ASYNC110  # gossip sets no event
                await asyncio.sleep(0.02)
        yield Cluster3(servers, broker)


@asynccontextmanager
async def connected_pusher(broker: Broker) -> AsyncIterator[Pusher]:
    async with await connect(broker.url, creds=broker.identities.mint_system().text) as system:
        yield Pusher(system.nc)


async def routes_of(server: Server, cluster: Cluster3) -> object:
    there = Broker.external(server.url, dir=cluster.broker.data_dir)
    try:
        async with await connect(server.url, creds=there.identities.creds("operator")) as bus:
            await answering(bus, "v1")
            await answering(bus, "v2")
            return await ask(bus)
    finally:
        await there.close()


async def test_every_server_of_a_cluster_confirms_new_routes(cluster: Cluster3) -> None:
    assert await cluster.broker.set_routes({"fax": {"v2": 100}}) == ("n0", "n1", "n2")
    for server in cluster.servers:
        assert await routes_of(server, cluster) == "v2"


async def test_a_silent_server_is_named_and_the_old_routes_stand(cluster: Cluster3) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100}})
    frozen = cluster.servers[2].pid
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    try:
        with pytest.raises(RouteRefused, match="n2") as caught:
            await cluster.broker.set_routes({"fax": {"v2": 100}})
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert caught.value.servers == ("n2",)
    for server in cluster.servers:
        assert await routes_of(server, cluster) == "v1"


async def test_a_server_that_refuses_is_named_and_the_others_go_back(cluster: Cluster3) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100}})
    tokens = cluster.servers[1].config.store / "jwt"
    tokens.rename(tokens.with_name("moved"))
    tokens.write_text("a file where the directory was")
    with pytest.raises(RouteRefused, match="server n1") as caught:
        await cluster.broker.set_routes({"fax": {"v2": 100}})
    assert caught.value.servers == ("n1",)
    for server in cluster.servers:
        assert await routes_of(server, cluster) == "v1"
    tokens.unlink()
    tokens.with_name("moved").rename(tokens)
    assert await cluster.broker.set_routes({"fax": {"v2": 100}}) == ("n0", "n1", "n2")


async def test_routes_change_again_when_a_server_has_left_in_order(cluster: Cluster3) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100}})
    await cluster.servers[2].stop()
    assert await cluster.broker.set_routes({"fax": {"v2": 100}}) == ("n0", "n1")
