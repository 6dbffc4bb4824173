"""Ownership of services: one `headway up` at a time runs a service, so that stopping one never stops another's
services.

`owner.<service>` in the control records names the owner, who renews it. A second `up` of the same service is refused
with the name of the first one; at its end each releases only its own services. The services of a killed process are
free as soon as its machine shows that it has ended; on other machines, after some time without renewal. Until then
they count as owned, also while the server is down and renewals are impossible.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import Conflict, HeadwayError, UsageError
from headway.bus.wire.subjects import token
from headway.control.records import LeaseRecord, Record
from headway.control.store import Control, Versioned, lease_key
from headway.scaler.drivers.process import rundir

PATIENCE: Final = 10.0
"""Seconds without a renewal after which an owner on another machine counts as gone."""
_RENEW: Final = PATIENCE / 3
_LOOK: Final = 0.25

_log = logging.getLogger("headway.up")


class ServiceTaken(UsageError):
    """Another process runs the service."""

    code = "service_taken"
    status = 409
    default_remedy = "stop that one first, or use your own server: unset HEADWAY_NATS_URL"


class OwnerRecord(Record):
    """The owner of a service.

    Attributes:
        token: unique id of this owner.
        name: its name, for messages.
        host: the machine, this boot of it, and the namespace of its process ids.
        pid, birth: its process id and start time.
    """

    token: str
    name: str
    host: str
    pid: int
    birth: str


def owner_key(service: str) -> str:
    """Return the key of an `OwnerRecord`."""
    return f"owner.{token(service, 'service')}"


def is_gone(owner: OwnerRecord) -> bool:
    """Return whether an owner is known to have ended: its process ran on this machine, and no longer exists."""
    return owner.host == _host() and rundir.birth(owner.pid) != owner.birth


class Ownership:
    """The services of one `headway up`.

    Args:
        bus: a connection in the operator or control role.
        place: data directory of this `up`.
        pool: pool of its workers.
    """

    def __init__(self, bus: Bus, place: Path, pool: str) -> None:
        self._control = Control(bus)
        self._pool = pool
        pid = os.getpid()
        self._me = OwnerRecord(
            token=unique_id(),
            name=f"`headway up` in {place.absolute()} (process {pid} on {socket.gethostname()})",
            host=_host(),
            pid=pid,
            birth=rundir.birth(pid) or "",
        )
        self._revisions: dict[str, int] = {}

    @property
    def services(self) -> frozenset[str]:
        """The services owned by this process."""
        return frozenset(self._revisions)

    async def claim(self, services: Iterable[str]) -> None:
        """Acquire services: all of them, or none.

        Raises:
            ServiceTaken: if another process runs one of them.
            StoreError, ConnectionFailed: if the records cannot be read or written.
        """
        await self._control.refresh()
        try:
            async with tasks.group() as group:
                for service in services:
                    group.create_task(self._claim(service))
        except HeadwayError:
            await self.release()
            raise

    async def keep(self) -> None:
        """Renew the ownership until cancelled. Services that another process has taken over are given up."""
        while True:
            await asyncio.sleep(_RENEW)
            for service, revision in list(self._revisions.items()):
                try:
                    self._revisions[service] = await self._control.put(owner_key(service), self._me, expect=revision)
                except Conflict:
                    await self._renew_lost(service)
                except HeadwayError as error:
                    _log.warning("the ownership of %s is not renewed, it is tried again: %s", service, error)

    async def release(self) -> None:
        """Release all owned services."""
        revisions, self._revisions = self._revisions, {}
        for service, revision in revisions.items():
            with contextlib.suppress(HeadwayError):  # the next one can see that this process has ended
                await self._control.delete(owner_key(service), expect=revision)

    async def _claim(self, service: str) -> None:
        key, since = owner_key(service), time.monotonic()
        first: Versioned[OwnerRecord] | None = None
        while True:
            found = await self._control.get(key, OwnerRecord)
            first = first or found
            if found is None:
                await self._no_other_pool(service)
            elif found.value.token == self._me.token:  # a write of ours whose acknowledgement was lost
                self._revisions[service] = found.revision
                return
            elif not is_gone(found.value) and time.monotonic() - since < PATIENCE:
                renewed = first is not None and found.revision != first.revision
                if renewed or found.value.host == self._me.host:
                    raise ServiceTaken(f"{service} is run by {found.value.name}")
                await asyncio.sleep(_LOOK)  # on another machine: only renewals show whether it is alive
                continue
            with contextlib.suppress(Conflict):  # another process was quicker: find out which
                expect = await self._control.marker(key) if found is None else found.revision
                self._revisions[service] = await self._control.put(key, self._me, expect=expect)
                return

    async def _no_other_pool(self, service: str) -> None:
        """Refuse a service whose workers are managed by a live scaler of another pool.

        Raises:
            ServiceTaken: if there is one.
        """
        record = self._control.services.get(service)
        if record is None or record.suspended:
            return
        for (of, _), version in self._control.versions.items():
            if of == service and version.phase != "retired" and version.pool != self._pool:
                lease = await self._control.get(lease_key(f"scaler-{version.pool}"), LeaseRecord)
                if lease is not None:
                    raise ServiceTaken(f"{service} is run by the scaler {lease.value.holder}")

    async def _renew_lost(self, service: str) -> None:
        """Acquire a service again after its record changed: the store lost it, or another process took the service."""
        try:
            await self._claim(service)
        except ServiceTaken as error:
            del self._revisions[service]
            _log.error("%s; it is left to that one", error.message)
        except HeadwayError as error:
            _log.warning("the ownership of %s is not renewed: %s", service, error)


async def owned(control: Control, services: Iterable[str]) -> frozenset[str]:
    """Return those services that have an owner, as far as known."""
    found = set()
    for service in services:
        owner = await control.get(owner_key(service), OwnerRecord)
        if owner is not None and not is_gone(owner.value):
            found.add(service)
    return frozenset(found)


def _host() -> str:
    """Return an id of this machine, this boot of it and this namespace of process ids."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(facts)
