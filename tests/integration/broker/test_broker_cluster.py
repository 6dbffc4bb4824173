"""Servers in zones, whose routes are proven by certificates."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from headway.broker.broker import Broker
from headway.broker.certificates import Authority
from headway.broker.config import FREE_PORT, Cluster, NatsConfig, RouteTls
from headway.broker.identity import Identities
from headway.broker.server import Server
from headway.broker.testing import _free_ports
from headway.bus.nats import streams
from headway.doctor import servers_seen

HOST = "localhost"  # a certificate names the host by which others call


def _tls(authority: Authority, home, name: str) -> RouteTls:
    cert, key = authority.issue(HOST)
    found = RouteTls(cert=home / f"{name}.crt", key=home / f"{name}.key", ca=home / f"{name}.ca")
    for path, data in ((found.cert, cert), (found.key, key), (found.ca, authority.pem)):
        path.write_bytes(data)
    return found


@pytest.fixture
async def servers(tmp_path):
    """Three servers of one cluster in three zones, and what a fourth one needs to join it."""
    identities = Identities.create_or_load(tmp_path)
    authority = Authority.create_or_load(tmp_path / "tls")
    ports = _free_ports(3)
    configs = [
        NatsConfig(
            name=f"n{index}",
            store=tmp_path / f"n{index}",
            trust=identities.trust(),
            port=FREE_PORT,
            ws_port=None,
            zone=f"z{index}",
            cluster=Cluster(
                "headway",
                port,
                tuple(f"nats://{HOST}:{other}" for other in ports if other != port),
                tls=_tls(authority, tmp_path, f"n{index}"),
                advertise=False,
            ),
        )
        for index, port in enumerate(ports)
    ]
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Server(config)) for config in configs]


async def _joined(broker: Broker, size: int) -> bool:
    found = await servers_seen.look(broker)
    return len(found) == size and any(server.leader for server in found)


async def test_a_stream_has_a_copy_in_each_zone_and_no_stranger_joins(servers, tmp_path, until):
    broker = Broker.external(",".join(server.url for server in servers), dir=tmp_path)
    try:
        await until(lambda: _joined(broker, 3))
        async with await broker.connect("control") as bus:
            await streams.provision(bus.js, 3)
            info = await bus.js.stream_info("EVENTS")
            assert info.cluster is not None
            assert {info.cluster.leader, *(peer.name for peer in info.cluster.replicas or [])} == {"n0", "n1", "n2"}

        known = servers[0].config
        stranger = Authority.create_or_load(tmp_path / "stranger")
        cluster = replace(
            known.cluster,
            port=FREE_PORT,
            routes=(f"nats://{HOST}:{known.cluster.port}",),
            tls=_tls(stranger, tmp_path, "stranger"),
        )
        config = replace(known, name="stranger", store=tmp_path / "stranger-store", port=FREE_PORT, cluster=cluster)
        async with Server(config) as other:
            await until(lambda: "certificate signed by unknown authority" in other.log.read_text())
            assert await _joined(broker, 3)
    finally:
        await broker.close()
