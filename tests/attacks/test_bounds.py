"""What one tenant may take of what all share (docs/reference/limits.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from nats.errors import Error as NatsError

from headway.broker.accounts import CLIENTS
from headway.broker.claims import Account, decode
from headway.broker.roles import TEMPLATES, Role
from headway.broker.testing import TestBus
from headway.bus import QueueFull, Service, TooLarge
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.nats import streams
from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts

EVENT = "call.ended"


def subscriber(seen: list[tuple[str, object]], hold: asyncio.Event) -> Service:
    app = Service("app", queue_per_subject=20, concurrency=1)

    @app.on(EVENT)
    async def ended(event: object, ctx: Any) -> None:
        await hold.wait()
        seen.append((ctx.tenant, event))

    @app.job("work")
    async def work(request: object, ctx: Any) -> None:
        await hold.wait()
        seen.append((ctx.tenant, request))

    return app


@pytest.fixture
async def globex(bus: TestBus) -> AsyncIterator[Bus]:
    """Connect as a client of the tenant globex, who floods."""
    async with await connect(bus.url, creds=bus.broker.identities.creds("client", tenant="globex")) as made:
        yield made


async def test_a_flood_of_events_evicts_only_the_flooders_own(bus: TestBus, globex: Bus, until: Any) -> None:
    seen: list[tuple[str, object]] = []
    hold = asyncio.Event()
    config = (await bus.bus.js.stream_info("EVENTS")).config
    assert config.max_msgs_per_subject == streams.BACKLOG
    await bus.bus.js.update_stream(replace(config, max_msgs_per_subject=10))
    async with bus.serving(subscriber(seen, hold)):
        await bus.emit(EVENT, "first", tenant="acme")
        await asyncio.gather(*(globex.emit(EVENT, n, tenant="globex") for n in range(100)))
        await bus.emit(EVENT, "last", tenant="acme")
        hold.set()
        await until(lambda: ("acme", "last") in seen)
    assert [event for tenant, event in seen if tenant == "acme"] == ["first", "last"]
    assert 10 <= sum(tenant == "globex" for tenant, _ in seen) < 100


async def test_events_of_types_that_a_tenant_makes_up_take_no_room(bus: TestBus, globex: Bus) -> None:
    before = (await bus.bus.js.stream_info("EVENTS")).state.bytes
    for n in range(100):
        await globex.emit(f"made-up.n{n}", "x" * 30_000, tenant="globex")
    assert (await bus.bus.js.stream_info("EVENTS")).state.bytes == before


async def test_an_event_is_refused_if_it_is_too_large(bus: TestBus, globex: Bus) -> None:
    with pytest.raises(TooLarge, match="store large data as a blob"):
        await globex.emit(EVENT, "x" * streams.MAX_EVENT, tenant="globex")
    await globex.emit(EVENT, "x" * (streams.MAX_EVENT - 200), tenant="globex")


async def test_a_tenant_cannot_fill_a_queue_with_one_operation(bus: TestBus, globex: Bus, until: Any) -> None:
    seen: list[tuple[str, object]] = []
    hold = asyncio.Event()
    async with bus.serving(subscriber(seen, hold)):
        with pytest.raises(QueueFull):
            for n in range(30):
                await globex.submit("app", "work", n, tenant="globex")
        await bus.submit("app", "work", "mine", tenant="acme")
        hold.set()
        await until(lambda: ("acme", "mine") in seen)


@pytest.mark.parametrize(
    ("role", "bound"), [("browser", {"tenant": "acme"}), ("client", {"tenant": "acme"}), ("worker", {"service": "fax"})]
)
async def test_each_role_has_only_so_many_subscriptions(
    attack_as: Connecting, attempts: Attempts, role: Role, bound: dict[str, str]
) -> None:
    most = TEMPLATES[role].subs
    assert most > 0
    async with attack_as(role, **bound) as user:
        user.nc._error_cb = _ignore
        for n in range(most - 8):
            await user.nc.subscribe(f"_INBOX.{user.made.public_key}.n{n}")
        await user.settled()
        with pytest.raises((NatsError, TimeoutError)):
            for n in range(20):
                await user.nc.subscribe(f"_INBOX.{user.made.public_key}.more{n}")
                await user.settled()
        attempts.judge(f"more than {most} subscriptions of a {role}", refused=user.nc.is_closed)


async def _ignore(_error: Exception) -> None: ...


async def test_clients_leave_connections_to_the_others(bus: TestBus) -> None:
    account = decode(bus.broker.identities.clients_jwt(), Account).nats
    assert account.limits.conn == CLIENTS
