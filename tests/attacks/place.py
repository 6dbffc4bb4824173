"""An installation with two services, two tenants and something to steal in every store.

`fax` and `voicemail` are services, `acme` and `globex` tenants. The attacker has credentials of fax or of acme.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg

from headway.broker.broker import Broker
from headway.broker.testing import TestBus
from headway.bus.client.bus import Bus
from headway.bus.context import Context
from headway.bus.nats import jsapi
from headway.bus.service import Service

SERVICES = ("fax", "voicemail")
TENANTS = ("acme", "globex")


@dataclass
class Place:
    """The installation under attack.

    Attributes:
        broker: its server and keys.
        bus: an operator's connection.
        tenants: whom the services were asked to act for, in order.
    """

    broker: Broker
    bus: Bus
    tenants: list[str]

    async def sequences(self) -> dict[str, int]:
        """The last sequence of each stream: it grows by one for each message, whatever becomes of it."""
        return {info.config.name: info.state.last_seq for info in await self.bus.js.streams_info()}

    async def settings(self) -> dict[str, Any]:
        """What was declared of each stream, and its consumers."""
        found: dict[str, Any] = {}
        for info in await self.bus.js.streams_info():
            name = str(info.config.name)
            consumers = await self.bus.js.consumers_info(name) if info.state.consumer_count else []
            found[name] = (info.config, sorted(one.name for one in consumers))
        return found

    async def subjects(self) -> set[str]:
        """The subjects of all messages that are stored."""
        found: set[str] = set()
        for name in await self.sequences():
            info = await jsapi.request(self.bus.nc, f"STREAM.INFO.{name}", {"subjects_filter": ">"}, timeout=5)
            found |= (info["state"].get("subjects") or {}).keys()
        return found


def service(name: str, tenants: list[str]) -> Service:
    made = Service(name)

    @made.rpc("say")
    async def say(request: Any, ctx: Context) -> Any:
        tenants.append(ctx.tenant)
        return request

    @made.job("send")
    async def send(request: Any, ctx: Context) -> None:
        tenants.append(ctx.tenant)

    @made.on(f"{name}.asked")
    async def asked(request: Any, ctx: Context) -> None:
        tenants.append(ctx.tenant)

    return made


@asynccontextmanager
async def opened(broker: Broker) -> AsyncIterator[Place]:
    """Run both services once, leave something in every store, and stop their workers: nothing changes by itself."""
    tenants: list[str] = []
    async with await broker.connect("operator") as bus:
        there = TestBus(broker, bus)
        async with AsyncExitStack() as stack:
            for name in SERVICES:
                await stack.enter_async_context(there.serving(service(name, tenants)))
        for tenant in TENANTS:
            await bus.tenant(tenant).objects.put("call", "kept", {"secret": tenant})
            await bus.tenant(tenant).blobs.put("kept", b"secret")
            for name in SERVICES:
                await bus.submit(name, "send", "secret", tenant=tenant)
                await bus.emit(f"{name}.asked", "secret", tenant=tenant)
                await bus.store(f"dead.{name}.{tenant}.send", b"secret", {})
        yield Place(broker, bus, tenants)


async def heard(bus: Bus, subjects: list[str]) -> list[str]:
    """Listen to subjects as an operator; the list that is returned grows with each message."""
    found: list[str] = []

    async def note(message: Msg) -> None:
        found.append(message.subject)

    for subject in subjects:
        await bus.nc.subscribe(subject, cb=note)
    await bus.flush()
    return found
