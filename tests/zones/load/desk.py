"""Agents who report in, and callers who are routed to them, talk, and hang up: on the reference service `calls`."""

from __future__ import annotations

import itertools
from typing import Any

from headway.bus.client.bus import Tenant
from headway.bus.errors import HeadwayError
from headway.services.calls import Agent, Call
from tests.zones.load.client import Client
from tests.zones.place import CALLS

AGENTS = ("ann", "bob")
TIMEOUT = 4.0
NEED = {"skill": "sales", "language": "en"}


async def agent(client: Client, tenant: Tenant, name: str) -> None:
    """Report in, and again before anybody thinks that the agent has left."""
    status = {"agent": name, "skills": [NEED["skill"]], "languages": [NEED["language"]]}
    while not client.stop.is_set():
        await _ask(client, tenant, "agent-status", status)
        await client.pause(2.0)


async def caller(client: Client, tenant: Tenant) -> None:
    """Call, wait for an agent, talk for a moment, hang up; each until it is certain."""
    for number in itertools.count():
        call = f"{client.name}-{number}"
        routed: Any = None
        while routed is None or routed["state"] == "queued":
            if client.stop.is_set():
                return
            routed = await _ask(client, tenant, "route", {"call": call, "caller": client.name, **NEED})
            await client.pause(0.1)
        await client.pause(0.1)
        while await _ask(client, tenant, "hangup", {"call": call}) is None:
            if client.stop.is_set():
                return
            await client.pause(0.1)


async def look(client: Client, tenant: Tenant) -> None:
    """Who is reserved for whom, and who talks to whom."""
    agents = await tenant.objects.list("agent", as_=Agent)
    calls = await tenant.objects.list("call", as_=Call)
    client.saw(
        "desk",
        {
            "agents": {one.id: one.value.call for one in agents if one.value.call is not None},
            "calls": {one.id: one.value.agent for one in calls if one.value.state == "active"},
        },
    )


async def _ask(client: Client, tenant: Tenant, operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
    answer = await client.ask(
        operation,
        {**request, "timeout": TIMEOUT},
        lambda: tenant.call(CALLS, operation, request, timeout=TIMEOUT),
        lambda answer: answer,
    )
    return None if isinstance(answer, HeadwayError) else answer
