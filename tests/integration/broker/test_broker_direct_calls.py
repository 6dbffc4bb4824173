"""Calls that name a version: for control and operators alone, and not counted in what a version is judged by."""

from __future__ import annotations

import nats.errors
import pytest

from headway.bus import DeadlineExceeded, Service
from headway.bus.client.connection import connect


def telling(version: str) -> Service:
    app = Service("app")

    @app.rpc("say")
    async def say(request: object) -> str:
        return version

    return app


@pytest.fixture
async def two(bus):
    """Two versions of a service; all traffic goes to the first."""
    async with bus.serving(telling("v1"), version="v1"), bus.serving(telling("v2"), version="v2") as [worker]:
        await bus.broker.set_routes({"app": {"v1": 100}})
        yield worker


def connected(bus, role: str, **bound: str):
    return connect(bus.url, creds=bus.broker.identities.creds(role, **bound))


@pytest.mark.parametrize(
    ("role", "bound"), [("client", {"tenant": "acme"}), ("browser", {"tenant": "acme"}), ("worker", {"service": "fax"})]
)
async def test_clients_pages_and_workers_cannot_name_a_version(bus, two, role, bound):
    refused = []
    async with await connected(bus, role, **bound) as caller:
        caller.nc._error_cb = _kept(refused)
        for subject in ("rpc.app.v2.acme.say", "direct.app.v2.acme.say"):
            with pytest.raises(DeadlineExceeded):
                await caller.request(subject, b"0", 0.3, {})
        assert await caller.call("app", "say", 0, tenant="acme", timeout=2) == "v1"
    assert len(refused) == 2
    assert all("permissions violation" in str(one).lower() for one in refused)
    assert two.counters.processed == 0


def _kept(refused):
    async def keep(error: nats.errors.Error) -> None:
        refused.append(error)

    return keep


@pytest.mark.parametrize("role", ["control", "operator"])
async def test_control_and_operators_reach_the_version_they_name_and_it_is_not_counted(bus, two, role):
    async with await connected(bus, role) as caller:
        answer = await caller.request("rpc.app.v2.acme.say", b"0", 2, {})
    assert answer.data == b'"v2"'
    beat = two.beat()
    assert (beat.processed, beat.failed, beat.tenants, beat.operations) == (0, 0, {}, {})


async def test_routes_and_probes_are_the_same_with_calls_by_version(bus, two):
    await bus.broker.set_routes({"app": {"v1": 50, "v2": 50}})
    said = {await bus.call("app", "say", 0, tenant="acme") for _ in range(40)}
    assert said == {"v1", "v2"}
    assert two.beat().tenants["acme"].tries > 0
