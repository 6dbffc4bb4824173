"""A private bus for tests: a real nats-server that lives as long as the test.

Use it through the pytest fixture `bus` (broker/pytest_plugin.py), or by hand: `async with testing.start() as bus:`.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from broker.broker import Broker
from broker.identity import Identities
from bus.client import CALL_TIMEOUT, STORE_TIMEOUT, Bus, Receipt, Tenant
from bus.service import Service
from bus.worker import Worker

TENANT = "test"
"""The tenant that tests speak for when they name none."""


class TestBus:
    """A bus to test services on, with an operator's rights: every tenant, every stream.

    Attributes:
        broker: server, identities and routes.
        bus: the connection that `call`, `submit` and `emit` use.
    """

    __test__ = False  # it is named Test..., but is not a test

    def __init__(self, broker: Broker, bus: Bus) -> None:
        self.broker = broker
        self.bus = bus

    @property
    def url(self) -> str:
        """Where the server listens."""
        return self.broker.url

    def tenant(self, tenant: str = TENANT) -> Tenant:
        """A handle for one tenant: calls, jobs, events, objects, blobs."""
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
        """As `bus.Bus.call`."""
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
        """As `bus.Bus.submit`."""
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
        """As `bus.Bus.emit`."""
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
        """Run workers of a service in this process; inside the block they serve, at its end they drain.

        Args:
            service: what to serve.
            version: the version's label.
            workers: how many, each with a connection and the rights of a worker of its service.
            config: the version's configuration.
            weights: the service's routes by version; all traffic to this version by default.
            grace: seconds that work in hand has to finish at the end.
        """
        async with AsyncExitStack() as stack:
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
async def broker() -> AsyncIterator[Broker]:
    """A fresh broker on free ports in a temporary directory, without anything of an earlier one."""
    with tempfile.TemporaryDirectory(prefix="headway-") as directory:
        async with Broker.start(Path(directory), port=0, identities=_identities()) as running:
            yield running


@asynccontextmanager
async def start() -> AsyncIterator[TestBus]:
    """A fresh broker, and an operator's connection to it."""
    async with broker() as running, await running.connect("operator") as connection:
        yield TestBus(running, connection)


@cache
def _identities() -> Identities:
    """Keys are the same for all servers of a test run: private servers need no private keys."""
    return Identities.create()
