"""The control records on the server: read, written by compare-and-set, and mirrored.

    control = Control(bus)
    await control.refresh()                   # one request: what changed since the last time
    control.services, control.versions, control.scales

Controllers are level-triggered: they read the whole truth, decide, act, repeat. The mirror makes that cheap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from nats.aio.msg import Msg
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import Conflict, NotFound, StoreError
from headway.bus.nats import values
from headway.bus.nats.streams import CONTROL
from headway.bus.wire import headers
from headway.bus.wire.subjects import token
from headway.control.records import Record, RolloutRecord, ScaleRecord, ServiceRecord, VersionRecord

R = TypeVar("R", bound=Record)

_PREFIX: Final = "$KV.CONTROL."
ROLLOUTS: Final = f"{_PREFIX}rollout.*"
"""Subject of the writes of all rollouts' records."""
_OPERATION: Final = "KV-Operation"
_DELETED: Final = frozenset({"DEL", "PURGE"})
_TRIES: Final = 8

_log = logging.getLogger("headway.broker")


def service_key(service: str) -> str:
    """Key of a `ServiceRecord`."""
    return f"service.{token(service, 'service')}"


def version_key(service: str, version: str) -> str:
    """Key of a `VersionRecord`."""
    return f"version.{token(service, 'service')}.{token(version, 'version')}"


def scale_key(service: str, version: str) -> str:
    """Key of a `ScaleRecord`."""
    return f"scale.{token(service, 'service')}.{token(version, 'version')}"


def rollout_key(service: str) -> str:
    """Key of a `RolloutRecord`."""
    return f"rollout.{token(service, 'service')}"


def rollout_service(subject: str) -> str:
    """Return the service of a rollout's record, from the subject that it was written on."""
    return subject.removeprefix(_PREFIX).split(".")[1]


def lease_key(controller: str) -> str:
    """Key of a `LeaseRecord`."""
    return f"lease.{token(controller, 'controller')}"


@dataclass(frozen=True, slots=True)
class Versioned(Generic[R]):
    """A record as it was read; its revision is what `put` takes as `expect`."""

    value: R
    revision: int


class Control:
    """The control records.

    Args:
        bus: a connection in the control or operator role.

    Attributes:
        services, versions, scales, rollouts: as of the last `refresh()`.
    """

    def __init__(self, bus: Bus) -> None:
        self._js = bus.js
        self.services: dict[str, ServiceRecord] = {}
        self.versions: dict[tuple[str, str], VersionRecord] = {}
        self.scales: dict[tuple[str, str], ScaleRecord] = {}
        self.rollouts: dict[str, RolloutRecord] = {}
        self._sequence = 0

    async def get(self, key: str, kind: type[R]) -> Versioned[R] | None:
        """Read a record; None if there is none.

        Raises:
            StoreError: if it is not a record of this kind, or the bucket does not exist.
            ConnectionFailed: without an answer in time.
        """
        message = await values.last(self._js, CONTROL, _PREFIX + key)
        if _gone(message):
            return None
        try:
            value = kind.model_validate_json(message.data)
        except ValidationError as error:
            raise StoreError(f"control record {key} cannot be read: {error}", remedy="delete or rewrite it") from error
        return Versioned(value, int((message.headers or {})[values.SEQUENCE]))

    async def put(self, key: str, record: Record, *, expect: int | None = None, ttl: float | None = None) -> int:
        """Write a record; returns its revision.

        Args:
            key: its key.
            record: its new value.
            expect: the revision it must still have, 0 for "never existed" (see `marker`); None writes in any case.
            ttl: whole seconds after which the server removes it.

        Raises:
            Conflict, MissingStream, NotStored: as `headway.bus.nats.values.write`.
        """
        payload = record.model_dump_json().encode()
        return await values.write(self._js, CONTROL, _PREFIX + key, payload, {}, expect, ttl=ttl)

    async def change(self, key: str, kind: type[R], alter: Callable[[R], R]) -> R:
        """Read, alter and write a record, again if somebody else wrote in between.

        Raises:
            NotFound: if there is none.
            Conflict: if others go on writing.
        """
        for _ in range(_TRIES):
            found = await self.get(key, kind)
            if found is None:
                raise NotFound(f"there is no control record {key}")
            altered = alter(found.value)
            if altered == found.value:
                return altered
            try:
                await self.put(key, altered, expect=found.revision)
            except Conflict:
                continue
            return altered
        raise Conflict(f"control record {key} was changed {_TRIES} times while it was being changed")

    async def delete(self, key: str, *, expect: int | None = None) -> None:
        """Delete a record, leaving a marker that mirrors see. Raises as `put`."""
        await values.write(self._js, CONTROL, _PREFIX + key, b"", {_OPERATION: "DEL"}, expect)

    async def marker(self, key: str) -> int:
        """What to expect when a record that does not exist is written: its deletion's marker has a revision, or 0.

        Raises:
            Conflict: if it does exist.
            MissingStream, ConnectionFailed: as `get`.
        """
        message = await values.last(self._js, CONTROL, _PREFIX + key)
        if not _gone(message):
            raise Conflict(f"control record {key} exists")
        return int((message.headers or {}).get(values.SEQUENCE, "0"))

    async def refresh(self) -> None:
        """Take over what changed since the last time.

        Raises:
            MissingStream: if the bucket does not exist.
            ConnectionFailed: without an answer in time.
        """
        async for message in values.since(self._js, CONTROL, f"{_PREFIX}>", self._sequence + 1):
            fields = message.headers or {}
            key = fields[values.SUBJECT].removeprefix(_PREFIX)
            self._take(key, None if _gone(message) else message.data)
            self._sequence = int(fields[values.SEQUENCE])

    def _take(self, key: str, data: bytes | None) -> None:
        match key.split("."):
            case ["service", service]:
                _mirror(self.services, service, ServiceRecord, data, key)
            case ["version", service, version]:
                _mirror(self.versions, (service, version), VersionRecord, data, key)
            case ["scale", service, version]:
                _mirror(self.scales, (service, version), ScaleRecord, data, key)
            case ["rollout", service]:
                _mirror(self.rollouts, service, RolloutRecord, data, key)
            case _:  # leases have readers of their own
                pass


K = TypeVar("K")


def _mirror(into: dict[K, R], at: K, kind: type[R], data: bytes | None, key: str) -> None:
    if data is None:
        into.pop(at, None)
        return
    try:
        into[at] = kind.model_validate_json(data)
    except ValidationError as error:
        # What is known stays in force: a newer program's record must not make an older one stop its workers.
        _log.error("control record %s cannot be read, the former one stays in force: %s", key, error)


def _gone(message: Msg) -> bool:
    fields = message.headers or {}
    return headers.STATUS in fields or fields.get(_OPERATION) in _DELETED
