"""Routes on real servers: shares, no loss, confirmation by each one, and the old ones standing when one refuses."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.msg import Msg

from headway.broker import server as server_module
from headway.broker import testing
from headway.broker.broker import Broker
from headway.broker.claims import WeightedMapping
from headway.broker.config import FREE_PORT, NatsConfig
from headway.broker.errors import BadRoutes, BrokerError, NoAuthority, RouteRefused
from headway.broker.identity import Identities, TrafficPolicy
from headway.broker.routes import Pusher
from headway.broker.server import Server
from headway.broker.testing import TestCluster
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.wire.subjects import COMMON


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
    assert set(map(int, lanes.values())) == set(range(COMMON))


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
    bad = identities.account_jwt(TrafficPolicy(too_much))
    async with await connect(nats_broker.url, creds=identities.mint_system().text) as system:
        with pytest.raises(RouteRefused, match="server headway") as caught:
            await Pusher(system.nc).push([bad])
    assert caught.value.servers == ("headway",)
    assert await nats_broker.routes() == {"fax": {"v1": 100}}


async def test_without_its_keys_the_routes_of_an_external_server_are_out_of_reach(nats_broker: Broker) -> None:
    there = Broker.external(nats_broker.url, creds=nats_broker.identities.creds("operator"))
    with pytest.raises(NoAuthority) as caught:
        await there.set_routes({"fax": {"v1": 100}})
    assert nats_broker.url in str(caught.value)
    with pytest.raises(NoAuthority):
        await there.routes()


@pytest.fixture
async def cluster() -> AsyncIterator[TestCluster]:
    """Three servers, and a broker that is connected to the first one."""
    async with testing.cluster(replicas=None) as running:
        broker = Broker.external(running.servers[0].url, dir=running.broker.data_dir)
        yield TestCluster(running.servers, broker)
        await broker.close()


@asynccontextmanager
async def connected_pusher(broker: Broker) -> AsyncIterator[Pusher]:
    async with await connect(broker.url, creds=broker.identities.mint_system().text) as system:
        yield Pusher(system.nc)


async def routes_of(server: Server, cluster: TestCluster) -> object:
    there = Broker.external(server.url, dir=cluster.broker.data_dir)
    try:
        async with await connect(server.url, creds=there.identities.creds("operator")) as bus:
            await answering(bus, "v1")
            await answering(bus, "v2")
            return await ask(bus)
    finally:
        await there.close()


async def test_every_server_of_a_cluster_confirms_new_routes(cluster: TestCluster) -> None:
    assert await cluster.broker.set_routes({"fax": {"v2": 100}}) == ("n0", "n1", "n2")
    for server in cluster.servers:
        assert await routes_of(server, cluster) == "v2"


async def test_a_silent_server_is_named_and_the_old_routes_stand(cluster: TestCluster) -> None:
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


async def test_a_server_that_refuses_is_named_and_the_others_go_back(cluster: TestCluster) -> None:
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


async def test_routes_change_again_when_a_server_has_left_in_order(cluster: TestCluster) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100}})
    await cluster.servers[2].stop()
    assert await cluster.broker.set_routes({"fax": {"v2": 100}}) == ("n0", "n1")


async def test_routes_change_while_a_server_is_dead_and_it_has_them_soon_after_it_is_back(
    cluster: TestCluster, until: Any
) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100}})
    dead = cluster.servers[2]
    await dead.kill()

    async def taken(version: str, servers: tuple[str, ...]) -> bool:
        try:
            return await cluster.broker.set_routes({"fax": {version: 100}}) == servers
        except RouteRefused:
            return False  # the others have not noticed yet

    await until(lambda: taken("v2", ("n0", "n1")))
    await dead.start()  # the others know it under another id from now on, and count the old one for minutes

    async def has_them() -> bool:
        return await routes_of(dead, cluster) == "v2"

    await until(has_them)
    await until(lambda: taken("v3", ("n0", "n1", "n2")))


async def test_two_processes_that_change_different_services_do_not_overwrite_each_other(nats_broker: Broker) -> None:
    others = [another(nats_broker) for _ in range(3)]
    try:
        async with asyncio.TaskGroup() as group:
            for number, broker in enumerate([nats_broker, *others]):
                group.create_task(change_often(broker, f"service-{number}"))
        assert await nats_broker.routes() == {f"service-{n}": {"v1": 91, "v2": 9} for n in range(4)}
    finally:
        for broker in others:
            await broker.close()


def another(broker: Broker) -> Broker:
    """As another process with the same data directory has it."""
    return Broker(broker.url, identities=broker.identities, data_dir=broker.data_dir)


async def change_often(broker: Broker, service: str) -> None:
    for weight in range(1, 10):
        await broker.change_route(service, {"v1": 100 - weight, "v2": weight})


async def test_a_service_is_changed_alone_and_only_if_something_changes(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}, "calls": {"v1": 100}})
    assert await nats_broker.change_route("fax", {"v1": 100, "v2": 0}) == ()
    assert await nats_broker.change_route("fax", {"v1": 5, "v2": 95}) == ("headway",)
    assert await nats_broker.change_route("calls", None) == ("headway",)
    assert await nats_broker.routes() == {"fax": {"v1": 5, "v2": 95}}


async def test_routes_that_another_process_pushed_outlive_the_server(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}})
    other = another(nats_broker)
    await other.change_route("fax", {"v1": 95, "v2": 5})
    await other.close()
    assert nats_broker.server is not None
    await nats_broker.server.kill()
    await nats_broker.server.restart()
    assert await nats_broker.routes() == {"fax": {"v1": 95, "v2": 5}}


async def test_weights_of_a_cluster_hold_there_and_the_others_elsewhere(cluster: TestCluster) -> None:
    await cluster.broker.set_routes({"fax": {"v1": 100, "v2@headway": 100}})
    assert await routes_of(cluster.servers[0], cluster) == "v2"
    await cluster.broker.set_routes({"fax": {"v1": 100, "v2@elsewhere": 100}})
    assert await routes_of(cluster.servers[0], cluster) == "v1"
    both = {"v1": 100, "v1@headway": 60, "v2@headway": 40, "v1@elsewhere": 1, "v2@elsewhere": 99}
    await cluster.broker.set_routes({"fax": both})
    assert await cluster.broker.routes() == {"fax": both}
    async with await cluster.broker.connect("operator") as bus:
        await answering(bus, "v1")
        await answering(bus, "v2")
        shares = Counter([await ask(bus) for _ in range(500)])
    assert 140 <= shares["v2"] <= 260  # 200 are expected; 5 standard deviations are 55


async def test_who_would_get_a_message_is_known_of_all_servers(cluster: TestCluster) -> None:
    subject = "rpc.fax.v2.acme.status"
    assert await cluster.broker.interest(subject) == {}
    creds = cluster.broker.identities.creds("operator")
    async with AsyncExitStack() as stack:
        for server in cluster.servers[:2]:
            await answering(await stack.enter_async_context(await connect(server.url, creds=creds)), "v2")
        assert await cluster.broker.interest(subject) == {"fax-v2": 2}
        assert await cluster.broker.interest("rpc.fax.v1.acme.status") == {}


async def test_a_memory_resolver_refuses_routes_and_its_clients_stay(tmp_path: Path, monkeypatch) -> None:
    """Its routes change by a reload alone, and one that it refuses takes the account away from it."""
    real = server_module.render

    def memory(config: NatsConfig) -> bytes:
        return orjson.dumps({**orjson.loads(real(config)), "resolver": "MEMORY"})

    monkeypatch.setattr(server_module, "render", memory)
    identities = Identities.create_or_load(tmp_path)
    trust = identities.trust()
    config = NatsConfig(name="frugal", store=tmp_path / "nats", trust=trust, port=FREE_PORT, ws_port=None)
    async with Server(config) as server:
        broker = Broker.external(server.url, dir=tmp_path)
        try:
            with pytest.raises(BrokerError) as caught:
                await broker.change_route("fax", {"v1": 100})
            assert caught.value.remedy
            async with await broker.connect("operator") as bus:
                assert await bus.flush()
        finally:
            await broker.close()
