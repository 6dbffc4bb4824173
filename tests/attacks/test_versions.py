"""Calls that name a version: for control and operators alone, and not counted in what a version is judged by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from headway.broker.broker import Broker
from headway.broker.roles import Role
from headway.broker.testing import TestBus
from headway.bus import Service
from headway.bus.worker.worker import Worker
from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts


def telling(version: str) -> Service:
    app = Service("app")

    @app.rpc("say")
    async def say(request: object) -> str:
        return version

    return app


@dataclass
class Versions:
    """Two versions of a service; all traffic goes to the first."""

    bus: TestBus
    second: Worker


@pytest.fixture
async def two(nats_broker: Broker) -> AsyncIterator[Versions]:
    async with await nats_broker.connect("operator") as connected:
        bus = TestBus(nats_broker, connected)
        async with bus.serving(telling("v1"), version="v1"), bus.serving(telling("v2"), version="v2") as [second]:
            await nats_broker.set_routes({"app": {"v1": 100}})
            yield Versions(bus, second)


@pytest.mark.parametrize(
    ("role", "bound"), [("client", {"tenant": "acme"}), ("browser", {"tenant": "acme"}), ("worker", {"service": "fax"})]
)
async def test_clients_pages_and_workers_cannot_name_a_version(
    two: Versions, attack_as: Connecting, attempts: Attempts, role: Role, bound: dict[str, str]
) -> None:
    async with attack_as(role, **bound) as caller:
        for subject in ("rpc.app.v2.acme.say", "direct.app.v2.acme.say", "rpc.app.v1.acme.say", "rpc.app.*.acme.say"):
            attempts.judge(f"{role}: {subject}", refused=not await caller.may_publish(subject, b"0"))
        assert (await caller.nc.request("rpc.app.acme.say", b"0", timeout=5)).data == b'"v1"'
    assert two.second.counters.processed == 0


@pytest.mark.parametrize("role", ["control", "operator"])
async def test_control_and_operators_reach_the_version_they_name_and_it_is_not_counted(
    two: Versions, nats_broker: Broker, role: Role
) -> None:
    async with await nats_broker.connect(role) as caller:
        answer = await caller.request("rpc.app.v2.acme.say", b"0", 5, {})
    assert answer.data == b'"v2"'
    beat = two.second.beat()
    assert (beat.processed, beat.failed, beat.tenants, beat.operations) == (0, 0, {}, {})


async def test_routes_are_the_same_with_calls_by_version(two: Versions, nats_broker: Broker) -> None:
    await nats_broker.set_routes({"app": {"v1": 50, "v2": 50}})
    said = {await two.bus.call("app", "say", 0, tenant="acme") for _ in range(40)}
    assert said == {"v1", "v2"}
    assert two.second.beat().tenants["acme"].tries > 0
