"""Callers, and submitters that repeat a job under its key until it is acknowledged."""

from __future__ import annotations

import itertools
from functools import partial

from headway.bus.client.bus import Receipt, Tenant
from tests.zones.load.client import Client
from tests.zones.place import CHAOS

CALL_TIMEOUT = 2.0
SUBMIT_TIMEOUT = 5.0


async def call(client: Client, tenant: Tenant) -> None:
    """Call without a pause worth mentioning."""
    for number in itertools.count():
        if client.stop.is_set():
            return
        await client.ask(
            "call",
            {"number": number, "timeout": CALL_TIMEOUT},
            partial(tenant.call, CHAOS, "echo", number, timeout=CALL_TIMEOUT),
            lambda answer: answer,
        )
        await client.pause(0.03)


async def submit(client: Client, tenant: Tenant) -> None:
    """Submit jobs. One that was not acknowledged when it shall stop is left in doubt."""
    for number in itertools.count():
        key = f"{client.name}-{number}"
        while not client.stop.is_set():
            answer = await client.ask(
                "submit",
                {"key": key, "timeout": SUBMIT_TIMEOUT},
                partial(tenant.submit, CHAOS, "work", {"key": key}, key=key, timeout=SUBMIT_TIMEOUT),
                lambda receipt: {"stream": receipt.stream, "seq": receipt.seq, "duplicate": receipt.duplicate},
            )
            if isinstance(answer, Receipt):
                break
            await client.pause(0.1)
        if client.stop.is_set():
            return
        await client.pause(0.03)
