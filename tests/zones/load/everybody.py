"""Everybody at work at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from headway.bus.client.bus import Bus, Tenant
from headway.clientsync.replica import Replica
from headway.control.store import Control
from tests.support.clientsync_page import Page, Site
from tests.zones.history import History
from tests.zones.load import desk, releases, requests, things
from tests.zones.load.client import Client, clock
from tests.zones.place import Place

TENANT, DESK = "acme", "desk"
"""Whose jobs, calls and objects; and whose agents."""
VERSIONS = ("v2", "v3")
"""What is rolled out in turn."""


Crowd = Callable[[History, asyncio.Event, Tenant], Coroutine[None, None, None]]
"""Works for a tenant until the event is set."""
Releasing = Callable[[Client, Place, Control], Coroutine[None, None, None]]
"""Rolls versions out until its client shall stop; gets the records as they are watched."""


async def in_turn(client: Client, place: Place, records: Control) -> None:
    """Roll out two versions in turn."""
    await releases.release(client, place, records, VERSIONS)


@asynccontextmanager
async def at_work(
    place: Place, history: History, seed: int, release: Releasing = in_turn, more: Sequence[Crowd] = ()
) -> AsyncIterator[None]:
    """Everybody at work, inside the block; at its end, until the rollout that is under way is over.

    Args:
        place: where.
        history: gets what they ask and what comes of it.
        seed: what they draw from.
        release: who rolls versions out.
        more: further work, each with an operator's connection of its own.
    """
    broker = place.running.broker
    no_more, stop, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:

        async def tenant(name: str) -> Bus:
            return await stack.enter_async_context(await broker.connect("client", tenant=name))

        async def operator() -> Bus:
            return await stack.enter_async_context(await broker.connect("operator"))

        def client(name: str, event: asyncio.Event = stop) -> Client:
            return Client(history, name, event)

        chance = random.Random(seed)
        jobs = []
        for number in range(4):
            bus = (await tenant(TENANT)).tenant(TENANT)
            jobs += [requests.call(client(f"call-{number}"), bus), requests.submit(client(f"submit-{number}"), bus)]
        for number in range(2):
            bus = (await operator()).tenant(TENANT)
            jobs.append(things.write(client(f"write-{number}"), bus, random.Random(chance.random())))
        desks = (await tenant(DESK)).tenant(DESK)
        jobs += [desk.agent(client(f"agent-{name}"), desks, name) for name in desk.AGENTS]
        jobs += [desk.caller(client(f"caller-{number}"), desks) for number in range(3)]
        for number in range(2):
            replica = await _page(place, stack, f"reader-{number}")
            jobs.append(things.watch(client(f"reader-{number}"), replica))
        jobs += [crowd(history, stop, (await operator()).tenant(TENANT)) for crowd in more]
        jobs.append(clock(client("clock")))
        records = Control(await operator())
        watching = releases.watch(client("records", over), records)
        async with asyncio.TaskGroup() as group:
            group.create_task(watching)
            releasing = group.create_task(release(client("release", no_more), place, records))
            working = [group.create_task(job) for job in jobs]
            try:
                yield
                # The last rollout is judged by what its versions do, so it comes to its end under load.
                no_more.set()
                await releasing
                stop.set()
                await asyncio.wait(working)
            finally:
                for event in (no_more, stop, over):
                    event.set()


async def _page(place: Place, stack: AsyncExitStack, user: str) -> Replica:
    """A page of the tenant's, live."""
    assert place.running.web_url is not None
    async with httpx.AsyncClient(base_url=place.running.web_url, timeout=30) as http:
        session = await Site(place.running.broker, place.running.web_url, http).session(TENANT, user)
    page = await stack.enter_async_context(Page.open(place.ws_urls, session))
    return page.replica
