"""What a long run adds to the load of tests/zones: events, and bursts of jobs."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

from headway.bus.client.bus import Tenant
from tests.zones.history import History
from tests.zones.load.client import Client
from tests.zones.place import CHAOS

EVERY, BURST = 20.0, 150
"""Seconds between two bursts, and jobs of one."""
TIMEOUT = 10.0


async def emit(client: Client, tenant: Tenant) -> None:
    """Publish events, one after the other."""
    for number in itertools.count():
        if client.stop.is_set():
            return
        key = f"{client.name}-{number}"
        await client.ask(
            "emit",
            {"key": key, "timeout": TIMEOUT},
            partial(tenant.emit, "thing.happened", {"key": key}, key=key, timeout=TIMEOUT),
            lambda _receipt: {},
        )
        await client.pause(0.1)


async def burst(history: History, stop: asyncio.Event, tenant: Tenant) -> None:
    """Submit many jobs at once, wait, and do it again. Each job has a process of its own in the history."""
    for number in itertools.count():
        if stop.is_set():
            return
        async with asyncio.TaskGroup() as group:
            for one in range(BURST):
                group.create_task(_submit(Client(history, f"burst-{number}-{one}", stop), tenant))
        await Client(history, "burst", stop).pause(EVERY)


async def _submit(client: Client, tenant: Tenant) -> None:
    await client.ask(
        "submit",
        {"key": client.name, "timeout": TIMEOUT},
        partial(tenant.submit, CHAOS, "work", {"key": client.name}, key=client.name, timeout=TIMEOUT),
        lambda receipt: {"stream": receipt.stream, "seq": receipt.seq, "duplicate": receipt.duplicate},
    )
