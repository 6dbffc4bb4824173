"""Three zones with a server each, and beside them what `headway up` runs: scaler, deployer, client sync, workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import nats.errors

from headway import config
from headway.broker import testing
from headway.broker.config import FREE_PORT, Cluster, NatsConfig
from headway.broker.server import Server, find_binary
from headway.installation import Installation
from headway.place import pool_of
from tests.zones import copies, disks
from tests.zones.network import Network
from tests.zones.plan import ZONES

DEADLINE = 60.0
"""Seconds that anything may take on a busy machine before it is called broken."""
CLIENT_PORT, ROUTE_PORT = 4222, 6222
CALLS, CHAOS = "calls", "chaos"
WORKERS = 2


class Broken(AssertionError):
    """The place did not become what it has to be. The message says what it waits for."""


class Place:
    """All of it.

    Attributes:
        network: None where there is none; the zones then are processes on one host.
        stores: each zone's data directory; with disks of their own, where the disk is mounted.
        servers: by zone.
        running: everything else.
        store: the directory of keys and images.
    """

    def __init__(self, network: Network | None, stores: Mapping[str, Path], store: Path) -> None:
        self.network, self.stores, self.store = network, stores, store
        self.servers: dict[str, Server] = {}
        self.running: Installation

    @property
    def pool(self) -> str:
        """Where its workers run."""
        return pool_of(self.store)

    @property
    def urls(self) -> str:
        """Of all servers."""
        return ",".join(server.url for server in self.servers.values())

    @property
    def ws_urls(self) -> str:
        """Of all servers, for pages."""
        return ",".join(str(server.ws_url) for server in self.servers.values())

    async def until(
        self, condition: Callable[[], Awaitable[bool] | bool], what: str, timeout: float = DEADLINE
    ) -> None:
        """Wait until something is so.

        Raises:
            Broken: if it does not become so in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = condition()
                    if found if isinstance(found, bool) else await found:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Broken(f"not after {timeout:g} s: {what}") from None

    async def healthy(self) -> None:
        """Wait until each stream has a leader and all its copies, and all services have their workers.

        Raises:
            Broken: if that takes too long.
        """
        await self.until(self._copies_complete, "all copies of all streams are complete", 90.0)
        await self.until(lambda: len(self.running.workers(CALLS)) >= WORKERS, "calls has its workers")
        await self.until(lambda: len(self.running.workers(CHAOS)) >= 1, "chaos has workers")

    async def empty(self) -> bool:
        """Whether no job is left."""
        try:
            return (await self.running.bus.js.stream_info(f"JOBS_{CHAOS}")).state.messages == 0
        except nats.errors.Error:
            return False

    async def _copies_complete(self) -> bool:
        running = all(server.running for server in self.servers.values())
        return running and await copies.complete(self.running.bus.js, len(ZONES))


@asynccontextmanager
async def made(
    directory: Path, network: Network | None, stores: Mapping[str, Path], effects: Path, log: TextIO
) -> AsyncIterator[Place]:
    """The place, until the block ends.

    Args:
        directory: for keys, images and sockets.
        network: as in `Place`.
        stores: as in `Place`.
        effects: where workers leave a line for each job they have done.
        log: gets what all processes say.
    """
    place = Place(network, stores, directory)

    def server(given: NatsConfig) -> Server:
        zone = ZONES[int(given.name.removeprefix("n"))]
        binary, told = find_binary(), replace(given, name=zone, zone=zone, store=stores[zone], ws_port=FREE_PORT)
        if network is not None:
            binary = network.enter(zone, binary, directory / f"server-in-{zone}")
            routes = tuple(f"nats://{network.addresses[other]}:{ROUTE_PORT}" for other in ZONES if other != zone)
            joined = Cluster("headway", ROUTE_PORT, routes)
            told = replace(told, host=network.addresses[zone], port=CLIENT_PORT, cluster=joined)
        place.servers[zone] = Server(told, binary=binary)
        return place.servers[zone]

    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(testing.cluster(len(ZONES), home=directory, make=server))
        settings = config.Config(
            services={
                CALLS: config.ServiceConfig(app="headway.services.calls:calls", workers=WORKERS),
                CHAOS: config.ServiceConfig(
                    app="tests.zones.service:chaos", workers=WORKERS, config={"effects": str(effects)}
                ),
            },
            server=config.ServerConfig(store=str(directory), replicas=len(ZONES)),
            # Its pages are Python programs, which use no WebSocket.
            web=config.WebConfig(port=0, dev_issuer=True, session=86_400, ws_url="ws://127.0.0.1:1"),
        )

        def say(label: str, line: str) -> None:
            log.write(f"{label}: {line}\n")

        place.running = await stack.enter_async_context(
            Installation.start(settings, say=say, grace=5, external=cluster.broker)
        )
        yield place


@asynccontextmanager
async def own_disks(directory: Path) -> AsyncIterator[dict[str, Path]]:
    """A disk for each zone's store.

    Raises:
        Unavailable: if there can be none here.
    """
    async with AsyncExitStack() as stack:
        yield {zone: stack.enter_context(disks.mounted(disks.make(directory / f"disk-{zone}"))) for zone in ZONES}
