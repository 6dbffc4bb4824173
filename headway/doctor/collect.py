"""Collects facts about an installation: servers, JetStream, workers, records, and files on this machine.

What cannot be read (no answer, no rights, no keys) is recorded with its reason, and the rest continues.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from headway import status
from headway.broker.broker import Broker
from headway.broker.identity import KEY_FILE
from headway.broker.routes import anywhere
from headway.broker.supervisor import prove_write
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError, MissingStream, NotStored, QueueFull
from headway.bus.nats import values
from headway.bus.nats.streams import CONTROL
from headway.control.store import Control, parse_subject
from headway.doctor import local, servers_seen, streams_seen
from headway.doctor.facts import Facts, ServerFacts, StreamFacts
from headway.endpoint import ServerAccess

T = TypeVar("T")

_CONTROL: Final = "$KV.CONTROL."
_PROBE: Final = f"{_CONTROL}probe.doctor"


@dataclass(slots=True)
class Blind:
    """What could not be read, and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    async def unless(self, what: str, look: Awaitable[T], otherwise: T) -> T:
        """Return the result of a read, or `otherwise` if it fails; the reason is recorded."""
        try:
            return await look
        except HeadwayError as error:
            self.reasons[what] = error.message
            return otherwise


async def collect(endpoint: ServerAccess, directory: Path) -> Facts:
    """Collect the facts about an installation.

    Args:
        endpoint: its server.
        directory: its data directory; if it exists, its files are read, too.
    """
    secrets, credentials, disks = await asyncio.to_thread(local.look, directory, endpoint.creds)
    keys = await asyncio.to_thread(local.keys, directory)
    facts = Facts(at=time.time(), url=endpoint.url, secrets=secrets, credentials=credentials, disks=disks, keys=keys)
    try:
        async with await endpoint.connect("doctor") as bus:
            return await _look(facts, bus, endpoint, directory)
    except ConnectionFailed as error:
        return replace(facts, unreachable=error.message)


async def _look(facts: Facts, bus: Bus, endpoint: ServerAccess, directory: Path) -> Facts:
    blind = Blind()
    nothing: dict[str, Any] = {}
    refused: Counter[str] = Counter()
    control = Control(bus)
    async with tasks.group() as group:
        beats = group.create_task(blind.unless("workers", status.listen(bus, refused=refused), []))
        seen = group.create_task(blind.unless("streams", _streams(bus), ((), ())))
        dead = group.create_task(blind.unless("dead letters", status.dead_letters(bus), nothing))
        by_system = group.create_task(_with_keys(blind, endpoint, directory))
        leases = group.create_task(blind.unless("leases", status.leases(bus), nothing))
        group.create_task(blind.unless("control records", _records(control), None))
        stored = group.create_task(_store(blind, bus))
    return replace(
        facts,
        blind=blind.reasons,
        servers=by_system.result()[0],
        streams=seen.result()[0],
        silent=seen.result()[1],
        beats=tuple(beats.result()),
        refused=refused,
        services=control.services,
        versions=control.versions,
        scales=control.scales,
        rollouts=control.rollouts,
        unreadable=control.unreadable,
        leases=frozenset(leases.result()),
        stored=stored.result()[0],
        not_stored=stored.result()[1],
        lease_ages=stored.result()[2],
        routes=by_system.result()[1],
        dead=dead.result(),
    )


async def _streams(bus: Bus) -> tuple[tuple[StreamFacts, ...], tuple[str, ...]]:
    """Look at the streams of the application account, and at those of control's that have no namesake there."""
    (here, silent), (inside, quiet) = await asyncio.gather(streams_seen.look(bus.nc), streams_seen.look(bus.records.nc))
    known = {one.name for one in here}
    return (*here, *(one for one in inside if one.name not in known)), (*silent, *quiet)


async def _store(blind: Blind, bus: Bus) -> tuple[float | None, str, dict[str, float]]:
    """Check that the server stores a write; return the ages of leases by the server's clock."""
    took: float | None = None
    failed = ""
    try:
        took = await prove_write(bus, _PROBE)
    except MissingStream:
        return None, "", {}
    except (NotStored, QueueFull) as error:
        failed = error.message
    except HeadwayError as error:
        blind.reasons["a write"] = error.message
    nothing: dict[str, float] = {}
    return took, failed, await blind.unless("ages of leases", _ages(bus), nothing)


async def _ages(bus: Bus) -> dict[str, float]:
    """Return for how many seconds each lease was not renewed, by the server's clock."""
    at: dict[str, datetime] = {}
    latest = None
    async for message in values.since(bus.records.js, CONTROL, f"{_CONTROL}>", 1):
        fields = message.headers or {}
        latest = datetime.fromisoformat(fields[values.TIME_STAMP])
        key = parse_subject(fields[values.SUBJECT])
        if key is not None and key.family == "lease" and message.data:
            at[key.owner] = latest
    return {name: (latest - renewed).total_seconds() for name, renewed in at.items() if latest is not None}


async def _with_keys(
    blind: Blind, endpoint: ServerAccess, directory: Path
) -> tuple[tuple[ServerFacts, ...], dict[str, dict[str, int]] | None]:
    """Return what only the system account can read."""
    if not (directory / KEY_FILE).exists():
        blind.reasons["servers and routes"] = f"the keys of the installation are not in {directory}"
        return (), None
    try:
        broker = Broker.external(endpoint.url, dir=directory)
    except HeadwayError as error:
        blind.reasons["servers and routes"] = error.message
        return (), None
    try:
        return (
            await blind.unless("servers", servers_seen.look(broker), ()),
            await blind.unless("routes", _routes(broker), None),
        )
    finally:
        await broker.close()


async def _routes(broker: Broker) -> dict[str, dict[str, int]] | None:
    return anywhere(await broker.routes())


async def _records(control: Control) -> None:
    await control.refresh()
