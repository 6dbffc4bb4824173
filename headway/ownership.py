"""Who runs a service: one `headway up` at a time, so that stopping one never stops what another runs.

`owner.<service>` in the control records names the owner, who renews it. A second `up` of the same service is refused
with the name of the first one; on leaving, each gives back only what is its own. What a killed process owned is free as
soon as its machine shows that it is gone; elsewhere once it was not renewed for a while. Until then it counts as owned,
also while the server is away, when nobody can renew anything.
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

from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import Conflict, HeadwayError, UsageError
from headway.bus.wire.subjects import token
from headway.control.records import LeaseRecord, Record
from headway.control.store import Control, Versioned, lease_key
from headway.scaler.drivers.process import rundir

PATIENCE: Final = 10.0
"""Seconds without a renewal after which an owner on another machine is taken to be gone."""
_RENEW: Final = PATIENCE / 3
_LOOK: Final = 0.25

_log = logging.getLogger("headway.up")


class ServiceTaken(UsageError):
    """Somebody else runs the service."""

    code = "service_taken"
    status = 409
    default_remedy = "stop that one first, or use a server of your own: unset HEADWAY_NATS_URL"


class OwnerRecord(Record):
    """Who runs a service.

    Attributes:
        token: tells this owner from any other.
        name: who it is, for people.
        host: the machine, this boot of it, and the namespace of its process ids.
        pid, birth: its process, and when that began.
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
    """Return whether an owner is known to have ended: its process ran on this machine, and does not any more."""
    return owner.host == _host() and rundir.birth(owner.pid) != owner.birth


class Ownership:
    """The services of one `headway up`.

    Args:
        bus: a connection in the operator or control role.
        place: where this `up` keeps its data.
        pool: where its workers run.
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
        """The services that are ours."""
        return frozenset(self._revisions)

    async def claim(self, services: Iterable[str]) -> None:
        """Become the owner of services: of all of them, or of none.

        Raises:
            ServiceTaken: if somebody else runs one of them.
            StoreError, ConnectionFailed: if the records cannot be read or written.
        """
        await self._control.refresh()
        try:
            async with asyncio.TaskGroup() as group:
                for service in services:
                    group.create_task(self._claim(service))
        except ExceptionGroup as errors:
            await self.release()
            raise errors.exceptions[0] from None

    async def keep(self) -> None:
        """Stay the owner, until cancelled. What another has taken over meanwhile is no longer ours."""
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
        """Give back what is ours."""
        revisions, self._revisions = self._revisions, {}
        for service, revision in revisions.items():
            with contextlib.suppress(HeadwayError):  # whoever wants it next sees that we are gone
                await self._control.delete(owner_key(service), expect=revision)

    async def _claim(self, service: str) -> None:
        key, since = owner_key(service), time.monotonic()
        first: Versioned[OwnerRecord] | None = None
        while True:
            found = await self._control.get(key, OwnerRecord)
            first = first or found
            if found is None:
                await self._no_other_pool(service)
            elif not is_gone(found.value) and time.monotonic() - since < PATIENCE:
                renewed = first is not None and found.revision != first.revision
                if renewed or found.value.host == self._me.host:
                    raise ServiceTaken(f"{service} is run by {found.value.name}")
                await asyncio.sleep(_LOOK)  # on another machine: whether it lives is seen by its renewals
                continue
            with contextlib.suppress(Conflict):  # somebody was quicker: see who
                expect = await self._control.marker(key) if found is None else found.revision
                self._revisions[service] = await self._control.put(key, self._me, expect=expect)
                return

    async def _no_other_pool(self, service: str) -> None:
        """Refuse a service whose workers a living scaler of another place looks after.

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
        """Take up a service again whose record is not what it was: lost with the server's store, or another's."""
        del self._revisions[service]
        try:
            await self._claim(service)
        except ServiceTaken as error:
            _log.error("%s; it is left to that one", error.message)
        except HeadwayError as error:
            _log.warning("the ownership of %s is not renewed: %s", service, error)


async def owned(control: Control, services: Iterable[str]) -> frozenset[str]:
    """Return those services that somebody runs, as far as anybody knows."""
    found = set()
    for service in services:
        owner = await control.get(owner_key(service), OwnerRecord)
        if owner is not None and not is_gone(owner.value):
            found.add(service)
    return frozenset(found)


def _host() -> str:
    """Return what tells this machine, this boot of it and this namespace of process ids from others."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(facts)
