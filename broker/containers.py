"""Containers of Headway for tests, with `testcontainers`; needs the extra `containers` and a Docker daemon.

    with NatsClusterContainer() as cluster, HeadwayContainer(cluster, Path(".")):
        async with await connect(cluster.url, creds=cluster.creds("operator")) as bus:
            ...

`NatsClusterContainer` is three servers in three zones, or one; `HeadwayContainer` runs what a headway.yaml says.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from headway.broker.broker import Broker
from headway.broker.errors import NotReady
from headway.broker.identity import Identities
from headway.broker.nodes import CLIENT_PORT, CONFIG, WEBSOCKET_PORT, Node, write
from headway.broker.provision import create_streams
from headway.broker.roles import Role
from headway.bus.errors import HeadwayError

NATS_IMAGE: Final = "nats:2.15.1-alpine"
CONTROL_IMAGE: Final = "headway-control"
"""Target `control` of the Dockerfile."""
READY: Final = 120.0
"""Seconds that containers have to become ready; images may have to be pulled."""
_HOME: Final = "/node"
_KEYS: Final = "/keys"
_ALIAS: Final = "nats"


class NatsClusterContainer:
    """A cluster of nats-servers with identities, streams and roles, ready inside the block.

    Args:
        size: how many servers, each in a zone of its own.
        image: of the servers.

    Attributes:
        network: where the servers are; `nats` is the name of each of them.
        nodes: the servers; stop, pause or kill them by `get_wrapped_container()`.
        identities: makes credentials.
    """

    def __init__(self, size: int = 3, *, image: str = NATS_IMAGE) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="headway-containers-")
        self.directory = Path(self._folder.name)
        self.identities = Identities.create_or_load(self.directory / "keys")
        names = [f"nats-{index}" for index in range(1, size + 1)]
        nodes = [Node(name, f"zone-{name}" if size > 1 else None) for name in names]
        keys = self.directory / "keys" / "tls"
        write(self.identities, keys, nodes, self.directory / "nodes", home=Path(_HOME))
        self.network = Network()
        self._connected = False
        self.nodes = [
            DockerContainer(image, entrypoint="nats-server", user=f"{os.getuid()}:{os.getgid()}")
            .with_command(["-c", f"{_HOME}/{CONFIG}"])
            .with_volume_mapping(str(self.directory / "nodes" / name), _HOME, "rw")
            .with_exposed_ports(CLIENT_PORT, WEBSOCKET_PORT)
            .with_network(self.network)
            .with_network_aliases(_ALIAS, name)
            for name in names
        ]

    @property
    def url(self) -> str:
        """Return where clients on this machine connect: all servers, joined by commas."""
        return ",".join(f"nats://{_at(node, CLIENT_PORT)}" for node in self.nodes)

    @property
    def ws_url(self) -> str:
        """Return where browsers on this machine connect: the first server."""
        return f"ws://{_at(self.nodes[0], WEBSOCKET_PORT)}"

    def creds(self, role: Role, *, tenant: str | None = None, service: str | None = None) -> str:
        """Return credentials as text, for `bus.connect(..., creds=...)`. Raises as `Identities.mint`."""
        return self.identities.creds(role, tenant=tenant, service=service)

    def start(self) -> Self:
        """Start all servers; wait until they have elected a leader and created the shared streams.

        Raises:
            NotReady: if that takes too long.
        """
        try:
            self.network.create()
            self._connected = True
            for node in self.nodes:
                node.start()
            _outside_of_any_loop(self._provision)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop and remove everything."""
        for node in self.nodes:
            node.stop()
        if self._connected:
            self.network.remove()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _provision(self) -> None:
        broker = Broker.external(self.url, dir=self.directory / "keys")
        deadline = time.monotonic() + READY
        try:
            while True:
                try:
                    async with await broker.connect("control") as bus:
                        await create_streams(bus, min(len(self.nodes), 3))
                        return
                except HeadwayError as error:
                    if time.monotonic() > deadline:
                        raise NotReady(f"the cluster was not ready after {READY:g} s: {error!r}") from error
                await asyncio.sleep(0.2)
        finally:
            await broker.close()


class HeadwayContainer(DockerContainer):
    """A container that runs the services of a folder's headway.yaml; inside the block they serve.

    Args:
        cluster: where; it has to be started before.
        folder: the services' code and headway.yaml, seen by the container and not copied.
        image: the control image, or one made `FROM` it with what the services need.
        serving: how many workers have to serve for it to be ready.
    """

    def __init__(
        self, cluster: NatsClusterContainer, folder: Path, *, image: str = CONTROL_IMAGE, serving: int = 1
    ) -> None:
        super().__init__(image, entrypoint=["sh", "-ec"], user=f"{os.getuid()}:{os.getgid()}", init=True)
        self.with_command(
            [f"headway apply --dir {_KEYS} --wait {READY:g} && exec headway scaler --dir {_KEYS} --contained"]
        )
        self.with_network(cluster.network)
        self.with_volume_mapping(str(cluster.directory / "keys"), _KEYS, "rw")
        self.with_volume_mapping(str(folder.absolute()), "/app", "ro")
        self.with_env("HEADWAY_NATS_URL", f"nats://{_ALIAS}:{CLIENT_PORT}")
        self.with_env("HEADWAY_POOL", "containers")
        self.waiting_for(LogMessageWaitStrategy(" serves as ", times=serving).with_startup_timeout(int(READY)))

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:  # noqa: FBT001, FBT002  # noqa: FBT001, FBT002  # the base class's signature
        """Let the workers drain, then remove the container."""
        if self._container is not None:
            self._container.stop(timeout=30)
        super().stop(force, delete_volume)


def _at(node: DockerContainer, port: int) -> str:
    return f"{node.get_container_host_ip()}:{node.get_exposed_port(port)}"


def _outside_of_any_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function to completion, even where an event loop already runs, as in tests."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
