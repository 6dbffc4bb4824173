"""A private bus for tests: a real nats-server that lives as long as the test.

Use it through the pytest fixture `bus` (broker/pytest_plugin.py), or by hand: `async with testing.start() as bus:`.
`testing.cluster()` is three servers.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from headway.broker import queues
from headway.broker.broker import Broker
from headway.broker.config import FREE_PORT, Cluster, NatsConfig
from headway.broker.identity import Identities
from headway.broker.provision import create_streams
from headway.broker.server import Server
from headway.bus.client.bus import CALL_TIMEOUT, STORE_TIMEOUT, Bus, Receipt, Tenant
from headway.bus.errors import HeadwayError
from headway.bus.nats.refusals import asking, translating
from headway.bus.service import Service
from headway.bus.worker.worker import Worker

TENANT = "test"
"""The tenant that tests use if they name none."""


class TestBus:
    """A bus to test services on, with an operator's rights: every tenant, every stream.

    Attributes:
        broker: server, identities and routes.
        bus: the connection that `call`, `submit` and `emit` use.
    """

    __test__ = False  # not a test, despite its name

    def __init__(self, broker: Broker, bus: Bus) -> None:
        self.broker = broker
        self.bus = bus

    @property
    def url(self) -> str:
        """Return where the server listens."""
        return self.broker.url

    def tenant(self, tenant: str = TENANT) -> Tenant:
        """Return a handle for one tenant: calls, jobs, events, objects, blobs."""
        return self.bus.tenant(tenant)

    async def call(
        self,
        service: str,
        operation: str,
        request: Any = None,
        *,
        tenant: str = TENANT,
        returns: type[Any] | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> Any:
        """Call an operation, as `bus.Bus.call`."""
        return await self.bus.call(service, operation, request, tenant=tenant, returns=returns, timeout=timeout)

    async def submit(
        self,
        service: str,
        operation: str,
        request: Any = None,
        *,
        tenant: str = TENANT,
        key: str | None = None,
        timeout: float = STORE_TIMEOUT,
    ) -> Receipt:
        """Submit a job, as `bus.Bus.submit`."""
        return await self.bus.submit(service, operation, request, tenant=tenant, key=key, timeout=timeout)

    async def emit(
        self,
        event_type: str,
        event: Any = None,
        *,
        tenant: str = TENANT,
        key: str | None = None,
        timeout: float = STORE_TIMEOUT,
    ) -> Receipt:
        """Publish an event, as `bus.Bus.emit`."""
        return await self.bus.emit(event_type, event, tenant=tenant, key=key, timeout=timeout)

    @asynccontextmanager
    async def serving(
        self,
        service: Service,
        *,
        version: str = "v1",
        workers: int = 1,
        config: dict[str, Any] | None = None,
        weights: dict[str, int] | None = None,
        grace: float = 5.0,
    ) -> AsyncIterator[Sequence[Worker]]:
        """Run workers of a service in this process: they serve inside the block, and drain at its end.

        Args:
            service: what to serve.
            version: the version's label.
            workers: how many, each with a connection and the rights of a worker of its service.
            config: the version's configuration.
            weights: the service's routes by version; all traffic to this version by default.
            grace: seconds that work in hand has to finish at the end.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(queues.served(self.bus))
            running = []
            for _ in range(workers):
                connection = await self.broker.connect("worker", service=service.name)
                await stack.enter_async_context(connection)
                worker = Worker(service, connection, version=version, config=config, grace=grace)
                running.append(await stack.enter_async_context(worker))
            others = await self.broker.routes()
            await self.broker.set_routes({**others, service.name: weights or {version: 100}})
            yield running


@asynccontextmanager
async def broker(*, sync_interval: str = "2m") -> AsyncIterator[Broker]:
    """Start a fresh broker on free ports in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="headway-") as directory:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(
                Broker.start(Path(directory), port=0, identities=_identities(), sync_interval=sync_interval)
            )
            # As the control processes of an installation do.
            bus = await stack.enter_async_context(await running.connect("control", name="queues"))
            await stack.enter_async_context(queues.served(bus))
            yield running


@asynccontextmanager
async def start() -> AsyncIterator[TestBus]:
    """Start a fresh broker and connect to it as an operator."""
    async with broker() as running, await running.connect("operator") as connection:
        yield TestBus(running, connection)


@dataclass(frozen=True, slots=True)
class TestCluster:
    """A cluster of servers with one set of keys.

    Attributes:
        servers: named `n0`, `n1`, ...; they can be stopped, killed and restarted.
        broker: identities and routes; its connections go to any live server.
    """

    __test__ = False

    servers: Sequence[Server]
    broker: Broker


@asynccontextmanager
async def cluster(
    size: int = 3,
    *,
    late: int = 0,
    replicas: int | None = 3,
    sync_interval: str = "2m",
    ready: float = 30.0,
    home: Path | None = None,
    make: Callable[[NatsConfig], Server] = Server,
) -> AsyncIterator[TestCluster]:
    """Start a fresh cluster on free ports in a temporary directory.

    Args:
        size: how many servers.
        late: number of servers, counted from the end, that the test starts itself.
        replicas: copies of the shared streams, which job streams take over; None creates no streams.
        sync_interval: as in `Broker.start`.
        ready: seconds to elect its leaders.
        home: directory to use instead; a cluster that ran in it continues.
        make: makes a server from its configuration; it may change the configuration or run the server elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="headway-") as directory:
        home = home or Path(directory)
        identities = Identities.create_or_load(home)
        trust = identities.trust()
        ports = _free_ports(size)
        async with AsyncExitStack() as stack:
            servers = [
                make(
                    NatsConfig(
                        name=f"n{index}",
                        store=home / f"n{index}",
                        trust=trust,
                        port=FREE_PORT,
                        ws_port=None,
                        sync_interval=sync_interval,
                        cluster=Cluster(
                            "headway", port, tuple(f"nats://127.0.0.1:{other}" for other in ports if other != port)
                        ),
                    )
                )
                for index, port in enumerate(ports)
            ]
            for server in servers:
                stack.push_async_callback(server.stop)
            first = servers[: size - late]
            await asyncio.gather(*(server.start() for server in first))
            broker = Broker.external(",".join(server.url for server in first), dir=home)
            stack.push_async_callback(broker.close)
            async with asyncio.timeout(ready):
                await _elected(broker, len(first))
                if replicas is not None:
                    async with await broker.connect("control") as bus:
                        await create_streams(bus, replicas)
            # As the control processes of an installation do.
            answering = await stack.enter_async_context(await broker.connect("control", name="queues"))
            await stack.enter_async_context(queues.served(answering))
            yield TestCluster(servers, broker)


async def _elected(broker: Broker, size: int) -> None:
    """Wait until all servers know each other, and JetStream has a leader."""
    system = await broker.system()
    async with AsyncExitStack() as stack:
        connected: list[Bus] = []
        while True:
            try:
                if not connected:  # servers of an earlier version learn of control's account here: all have to answer
                    connected.append(await stack.enter_async_context(await broker.connect("control")))
                [bus] = connected
                with translating("the servers"):
                    known = await system.nc.request("$SYS.REQ.SERVER.PING.ROUTEZ", b"", timeout=1)
                routes = {route["remote_name"] for route in orjson.loads(known.data)["data"]["routes"]}
                if len(routes) == size - 1:
                    async with asking("the account", 1):
                        await bus.js.account_info()
                    return
            except (TimeoutError, HeadwayError, KeyError):
                pass
            await asyncio.sleep(0.02)


def _free_ports(count: int) -> list[int]:
    """Return free ports: the servers of a cluster have to know each other's in advance."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@cache
def _identities() -> Identities:
    """Return the keys that all servers of a test run share."""
    return Identities.create()
