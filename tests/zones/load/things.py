"""Writers of objects, who also write over each other, and readers: pages that are kept up to date by client sync."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import orjson

from headway.bus.client.bus import Tenant
from headway.bus.client.objects import is_tombstone
from headway.bus.errors import HeadwayError
from headway.bus.nats import streams, values
from headway.bus.wire import subjects
from headway.clientsync.replica import Replica
from tests.zones.load.client import Client

TYPE = "thing"
OBJECTS = 5
PUT_TIMEOUT = 5.0
"""Seconds after which the bus gives up."""


async def write(client: Client, tenant: Tenant, chance: random.Random) -> None:
    """Put, compare and set, delete: at random, on a few objects that others write, too."""
    known: dict[str, int] = {}
    count = 0
    while not client.stop.is_set():
        id_, count = f"o{chance.randrange(OBJECTS)}", count + 1
        expect = known.get(id_) if chance.random() < 0.6 else None
        value = None if chance.random() < 0.1 else f"{client.name}-{count}"
        revision = await client.ask(
            "put",
            {"id": id_, "value": value, "expect": expect, "timeout": PUT_TIMEOUT},
            partial(_put, tenant, id_, value, expect),
            lambda revision: {"revision": revision},
        )
        if isinstance(revision, HeadwayError):
            found = await client.ask(
                "get",
                {"id": id_, "timeout": PUT_TIMEOUT},
                partial(tenant.objects.get, TYPE, id_, as_=str),
                lambda found: {"revision": found.revision if found else None},
            )
            known.pop(id_, None)
            if found is not None and not isinstance(found, HeadwayError):
                known[id_] = found.revision
        else:
            known[id_] = revision
        await client.pause(0.03)


async def _put(tenant: Tenant, id_: str, value: str | None, expect: int | None) -> int:
    if value is None:
        return await tenant.objects.delete(TYPE, id_, expect=expect)
    return await tenant.objects.put(TYPE, id_, value, expect=expect)


async def state(tenant: Tenant) -> dict[str, tuple[int, str | None]]:
    """Revision and value of each object there is or was; the value of what is deleted is None."""
    found: dict[str, tuple[int, str | None]] = {}
    subject = subjects.obj_filter(tenant.tenant, TYPE)
    async for message in values.since(tenant.bus.js, streams.OBJECTS, subject):
        fields = message.headers or {}
        value = None if is_tombstone(fields) else orjson.loads(message.data)
        found[fields[values.SUBJECT].rsplit(".", 1)[1]] = (int(fields[values.SEQUENCE]), value)
    return found


async def watch(client: Client, replica: Replica) -> None:
    """Write down each change of what a page shows."""
    shown: dict[str, tuple[int, Any]] = {}
    while not client.stop.is_set():
        for (type_, id_), row in (replica.old | replica.rows).items():
            now = (row.seq, row.value if row.there else None)
            if type_ == TYPE and shown.get(id_) != now:
                shown[id_] = now
                client.saw("view", {"id": id_, "revision": now[0], "value": now[1]})
        await client.pause(0.01)
