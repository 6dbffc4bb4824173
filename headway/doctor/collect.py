"""Looking at an installation: its servers, JetStream, workers, control records, and files on this machine.

What cannot be looked at (no answer, no rights, no keys) is noted with its reason, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from headway import status
from headway.broker.broker import Broker
from headway.broker.identity import KEY_FILE
from headway.broker.routes import anywhere
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError
from headway.control.store import Control
from headway.doctor import local, servers_seen, streams_seen
from headway.doctor.facts import Facts, Server
from headway.endpoint import Endpoint

T = TypeVar("T")


@dataclass(slots=True)
class Blind:
    """What could not be looked at, and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    async def unless(self, what: str, look: Awaitable[T], otherwise: T) -> T:
        """What a look shows, or that it was in vain."""
        try:
            return await look
        except HeadwayError as error:
            self.reasons[what] = error.message
            return otherwise


async def collect(endpoint: Endpoint, directory: Path) -> Facts:
    """Look at an installation.

    Args:
        endpoint: its server.
        directory: its data directory; what is in there is looked at, too, if it exists.
    """
    secrets, credentials, disks = await asyncio.to_thread(local.look, directory, endpoint.creds)
    keys = await asyncio.to_thread(local.keys, directory)
    facts = Facts(at=time.time(), url=endpoint.url, secrets=secrets, credentials=credentials, disks=disks, keys=keys)
    try:
        async with await endpoint.connect("doctor") as bus:
            return await _look(facts, bus, endpoint, directory)
    except ConnectionFailed as error:
        return replace(facts, unreachable=error.message)


async def _look(facts: Facts, bus: Bus, endpoint: Endpoint, directory: Path) -> Facts:
    blind = Blind()
    nothing: dict[str, Any] = {}
    control = Control(bus)
    beats, (streams, silent), dead, (servers, routes), leases, _ = await asyncio.gather(
        blind.unless("workers", status.listen(bus), []),
        blind.unless("streams", streams_seen.look(bus.nc), ((), ())),
        blind.unless("dead letters", status.dead_letters(bus), nothing),
        _with_keys(blind, endpoint, directory),
        blind.unless("leases", status.leases(bus), nothing),
        blind.unless("control records", _records(control), None),
    )
    return replace(
        facts,
        blind=blind.reasons,
        servers=servers,
        streams=streams,
        silent=silent,
        beats=tuple(beats),
        services=control.services,
        versions=control.versions,
        scales=control.scales,
        rollouts=control.rollouts,
        unreadable=control.unreadable,
        leases=frozenset(leases),
        routes=routes,
        dead=dead,
    )


async def _with_keys(
    blind: Blind, endpoint: Endpoint, directory: Path
) -> tuple[tuple[Server, ...], dict[str, dict[str, int]] | None]:
    """What only the system account may see."""
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
