"""The control records on the server: read, mirrored, and written with compare-and-set.

    control = Control(bus)
    await control.refresh()                   # one request: what changed since the last time
    control.services, control.versions, control.scales

Controllers are level-triggered: they read everything, decide, act, repeat. The mirror makes that cheap.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import (
    Conflict,
    ConnectionFailed,
    HeadwayError,
    InvalidSubject,
    MissingStream,
    NotFound,
    StoreError,
    UsageError,
)
from headway.bus.nats import jsapi, values
from headway.bus.nats.cas import compare_and_set
from headway.bus.nats.streams import CONTROL
from headway.bus.wire import headers
from headway.bus.wire.subjects import token
from headway.control.records import Record, RolloutRecord, ScaleRecord, ScheduleRecord, ServiceRecord, VersionRecord

R = TypeVar("R", bound=Record)
K = TypeVar("K")

EPOCH_EVERY: Final = 2.0
"""Seconds between two checks whether the stream is still the same one."""
_EPOCH_TIMEOUT: Final = 2.0

_PREFIX: Final = "$KV.CONTROL."
ROLLOUTS: Final = f"{_PREFIX}rollout.*"
"""Subject of the writes to all rollout records."""
VERSIONS: Final = f"{_PREFIX}version.>"
"""Subject of the writes to all version records."""
LEASES: Final = f"{_PREFIX}lease.*"
"""Subject of the writes to all leases."""
_OPERATION: Final = "KV-Operation"
_COPIED: Final = frozenset({"service", "version", "rollout"})
"""Families of records with a copy of the last value beside each record, which `mend` restores."""
KINDS: Final[dict[str, type[Record]]] = {
    "service": ServiceRecord,
    "version": VersionRecord,
    "scale": ScaleRecord,
    "rollout": RolloutRecord,
    "schedule": ScheduleRecord,
}
_REWRITTEN: Final[dict[type[Record], str]] = {ScaleRecord: "scaler", ScheduleRecord: "scheduler"}
"""Records that their writer writes again."""
_DELETED: Final = frozenset({"DEL", "PURGE"})

_log = logging.getLogger("headway.broker")


def service_key(service: str) -> str:
    """Return the key of a `ServiceRecord`."""
    return f"service.{token(service, 'service')}"


def version_key(service: str, version: str) -> str:
    """Return the key of a `VersionRecord`."""
    return f"version.{token(service, 'service')}.{token(version, 'version')}"


def scale_key(service: str, version: str) -> str:
    """Return the key of a `ScaleRecord`."""
    return f"scale.{token(service, 'service')}.{token(version, 'version')}"


def rollout_key(service: str) -> str:
    """Return the key of a `RolloutRecord`."""
    return f"rollout.{token(service, 'service')}"


def schedule_key(service: str) -> str:
    """Return the key of a `ScheduleRecord`."""
    return f"schedule.{token(service, 'service')}"


def evidence_key(service: str) -> str:
    """Return the key of an `EvidenceRecord`."""
    return f"evidence.{token(service, 'service')}"


def lease_key(controller: str) -> str:
    """Return the key of a `LeaseRecord`."""
    return f"lease.{token(controller, 'controller')}"


def _copy_key(key: str) -> str:
    """Return the key of a record's copy."""
    return f"copy.{key}"


class RecordKey(NamedTuple):
    """The parts of a record's key.

    Attributes:
        family: kind of record, such as "rollout".
        owner: the service; of a lease, the controller.
        version: the version; "" in families that have one record for all versions.
    """

    family: str
    owner: str
    version: str = ""


_UNVERSIONED: Final = frozenset({"service", "rollout", "schedule", "evidence", "lease"})
_VERSIONED: Final = frozenset({"version", "scale"})


def parse_key(key: str) -> RecordKey | None:
    """Parse a record's key; None if the functions above do not make such a key, as that of a copy."""
    family, *names = key.split(".")
    if (family in _UNVERSIONED and len(names) == 1) or (family in _VERSIONED and len(names) == 2):
        with contextlib.suppress(InvalidSubject):
            return RecordKey(family, *(token(name, "name") for name in names))
    return None


def keys_of(service: str, keys: Iterable[str]) -> dict[str, RecordKey]:
    """Return the keys that belong to a service, with their parts."""
    known = ((key, parse_key(key)) for key in keys)
    return {key: one for key, one in known if one is not None and one.owner == service and one.family != "lease"}


def parse_subject(subject: str) -> RecordKey | None:
    """Parse the subject of a record, like `parse_key`."""
    return parse_key(subject.removeprefix(_PREFIX)) if subject.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Versioned(Generic[R]):
    """A record and the revision it was read at, which `put` takes as `expect`."""

    value: R
    revision: int


@dataclass(eq=False)
class Mirror:
    """The control records as they were last read.

    Attributes:
        services, versions, scales, rollouts, schedules: the readable records, in the order of their last write.
        unreadable: by key, why a record cannot be read. Its last known value, if any, stays in force.
    """

    services: dict[str, ServiceRecord] = field(default_factory=dict)
    versions: dict[tuple[str, str], VersionRecord] = field(default_factory=dict)
    scales: dict[tuple[str, str], ScaleRecord] = field(default_factory=dict)
    rollouts: dict[str, RolloutRecord] = field(default_factory=dict)
    schedules: dict[str, ScheduleRecord] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def take(self, key: str, data: bytes | None, former: Mirror) -> None:
        """Apply a record.

        Args:
            key: its key.
            data: its value; None if it was deleted.
            former: the mirror that supplies the value if this one cannot be read.
        """
        match parse_key(key):
            case RecordKey("service", service):
                self._take(self.services, service, ServiceRecord, data, key, former.services)
            case RecordKey("version", service, version):
                self._take(self.versions, (service, version), VersionRecord, data, key, former.versions)
            case RecordKey("scale", service, version):
                self._take(self.scales, (service, version), ScaleRecord, data, key, former.scales)
            case RecordKey("schedule", service):
                self._take(self.schedules, service, ScheduleRecord, data, key, former.schedules)
            case RecordKey("rollout", service):
                self._take(self.rollouts, service, RolloutRecord, data, key, former.rollouts)
            case _:  # leases and evidence have readers of their own
                pass

    def _take(
        self, into: dict[K, R], at: K, kind: type[R], data: bytes | None, key: str, former: Mapping[K, R]
    ) -> None:
        if data is None:
            into.pop(at, None)
            self.unreadable.pop(key, None)
            return
        kept = into.pop(at, former.get(at))  # whatever was written last comes last
        try:
            into[at] = kind.model_validate_json(data)
            self.unreadable.pop(key, None)
        except ValidationError as error:
            # A record that cannot be read is neither good nor bad: it must not stop any worker.
            self.unreadable[key] = unreadable(error)
            if kept is not None:
                into[at] = kept
            _log.error("control record %s cannot be read, the former one stays in force: %s", key, self.unreadable[key])


class Control(Mirror):
    """The control records.

    Args:
        bus: a connection in the control or operator role. The records are in control's account, where nothing that
            workers, pages or clients send can arrive (docs/decisions/0032-an-account-for-control.md).
        current: refuse to read all records from a replica that is behind the stream's leader. Controllers need it:
            they would act on what was true before, such as older weights. Without a leader nothing can be read then.

    The attributes of `Mirror` are as of the last `refresh()`.
    """

    def __init__(self, bus: Bus, *, current: bool = False) -> None:
        super().__init__()
        self._current = current
        self._connected = bus
        self._sequence = 0
        self._stale = True
        self._epoch: _Epoch | None = None
        self._asked = 0.0
        self._heard = False

    @property
    def _bus(self) -> Bus:
        """The connection to control's account. Raises `UsageError` if the credentials do not reach it."""
        return self._connected.records

    @property
    def _js(self) -> JetStreamContext:
        return self._bus.js

    def reconnected(self) -> None:
        """Read everything again: the server may have started from an older copy of its store."""
        self._stale = True

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
            raise StoreError(
                f"control record {key} cannot be read: {unreadable(error)}", remedy=f"headway records mend {key}"
            ) from error
        return Versioned(value, int((message.headers or {})[values.SEQUENCE]))

    async def put(self, key: str, record: Record, *, expect: int | None = None, ttl: float | None = None) -> int:
        """Write a record and return its revision.

        Args:
            key: its key.
            record: its new value.
            expect: the revision it must still have, 0 for "never existed" (see `marker`); None writes
                unconditionally.
            ttl: whole seconds after which the server removes it.

        Raises:
            Conflict, MissingStream, NotStored: as `headway.bus.nats.values.write`.
        """
        payload = record.model_dump_json().encode()
        revision = await values.write(self._js, CONTROL, _PREFIX + key, payload, {}, expect, ttl=ttl)
        if _is_copied(key):
            try:
                await values.write(self._js, CONTROL, _PREFIX + _copy_key(key), payload, {}, None)
            except HeadwayError as error:  # the record matters; a copy that is one write older can still restore it
                _log.warning("no copy of the control record %s was kept: %s", key, error.message)
        return revision

    async def change(self, key: str, kind: type[R], alter: Callable[[R], R]) -> R:
        """Read, change and write a record; repeat if it was written in between.

        Raises:
            NotFound: if there is none.
            Conflict: if other writers keep interfering.
        """

        async def once() -> R:
            found = await self.get(key, kind)
            if found is None:
                raise NotFound(f"there is no control record {key}")
            altered = alter(found.value)
            if altered != found.value:
                await self.put(key, altered, expect=found.revision)
            return altered

        return await compare_and_set(once, f"control record {key}")

    async def delete(self, key: str, *, expect: int | None = None) -> None:
        """Delete a record and its copy; mirrors see the deletion markers. Raises as `put`."""
        await values.write(self._js, CONTROL, _PREFIX + key, b"", {_OPERATION: "DEL"}, expect)
        if _is_copied(key):
            await values.write(self._js, CONTROL, _PREFIX + _copy_key(key), b"", {_OPERATION: "DEL"}, None)

    async def mend(self, key: str) -> str:
        """Repair an unreadable record; return what was done, in words.

        Nothing else is touched. Scaler and scheduler rewrite their own records; all others have a copy of the last
        value that Headway wrote.

        Raises:
            UsageError: if the record can be read.
            NotFound: if no copy of it can be read either.
            Conflict: if it was written meanwhile.
            MissingStream, ConnectionFailed, NotStored: as `get` and `put`.
        """
        known = parse_key(key)
        kind = KINDS.get(known.family) if known is not None else None
        if kind is None:
            raise UsageError(f"{key} is not a control record that can be repaired", remedy="see `headway records ls`")
        message = await values.last(self._js, CONTROL, _PREFIX + key)
        revision = int((message.headers or {}).get(values.SEQUENCE, "0"))
        if not _gone(message) and _readable(kind, message.data):
            raise UsageError(f"control record {key} can be read: there is nothing to repair")
        if kind in _REWRITTEN:
            await self.delete(key, expect=revision)
            return f"deleted: the {_REWRITTEN[kind]} will write it again"
        copy = await values.last(self._js, CONTROL, _PREFIX + _copy_key(key))
        if _gone(copy) or not _readable(kind, copy.data):
            raise NotFound(
                f"there is no copy of control record {key}",
                remedy="declare the service again: `headway up` or `headway apply`, or release it: `headway rollout`",
            )
        await self.put(key, kind.model_validate_json(copy.data), expect=revision)
        return "restored from the copy of the last write"

    async def marker(self, key: str) -> int:
        """Return the revision to expect when writing a record that does not exist: its deletion marker's, or 0.

        Raises:
            Conflict: if it does exist.
            MissingStream, ConnectionFailed: as `get`.
        """
        message = await values.last(self._js, CONTROL, _PREFIX + key)
        if not _gone(message):
            raise Conflict(f"control record {key} exists")
        return int((message.headers or {}).get(values.SEQUENCE, "0"))

    async def refresh(self) -> None:
        """Read what changed since the last time, or everything if the stream was replaced.

        Raises:
            MissingStream: if the bucket does not exist.
            ConnectionFailed: without an answer in time.
        """
        if not self._heard:
            self._bus.on_reconnect(self)
            self._heard = True
        await self._watch_epoch()
        if not self._stale:
            self._sequence = await self._read(self, self._sequence)
            return
        self._stale = False
        mirror = Mirror()
        try:
            newest = await self._newest() if self._current else 0
            sequence = await self._read(mirror, 0)
            _require(sequence, newest)
        except BaseException:
            self._stale = True
            raise
        self._sequence = sequence
        self.services, self.versions, self.scales = mirror.services, mirror.versions, mirror.scales
        self.rollouts, self.schedules, self.unreadable = mirror.rollouts, mirror.schedules, mirror.unreadable

    async def _newest(self) -> int:
        """Return the sequence of the last record that the stream's leader has; 0 if there is none.

        Any replica answers direct gets; this request only the leader (nats-server: jetstream_api.go, jsMsgGetRequest).
        """
        try:
            reply = await jsapi.request(
                self._bus.nc, f"STREAM.MSG.GET.{CONTROL}", {"last_by_subj": f"{_PREFIX}>"}, timeout=_EPOCH_TIMEOUT
            )
        except NotFound:
            return 0
        return int(reply["message"]["seq"])

    async def _read(self, mirror: Mirror, sequence: int) -> int:
        """Read everything after a sequence; return the last sequence. Reading twice is harmless."""
        async for message in values.since(self._js, CONTROL, f"{_PREFIX}>", sequence + 1):
            fields = message.headers or {}
            mirror.take(fields[values.SUBJECT].removeprefix(_PREFIX), None if _gone(message) else message.data, self)
            sequence = int(fields[values.SEQUENCE])
        return sequence

    async def _watch_epoch(self) -> None:
        """Detect that the stream was replaced, or an older copy of it restored."""
        now = time.monotonic()
        if not self._stale and now - self._asked < EPOCH_EVERY:
            return
        try:
            info = await jsapi.request(self._bus.nc, f"STREAM.INFO.{CONTROL}", timeout=_EPOCH_TIMEOUT)
        except MissingStream:
            self._stale = True
            raise
        except HeadwayError:  # no leader at the moment; any replica answers reads, and the next check comes soon
            return
        self._asked = now
        epoch = _Epoch(info["created"], int(info["state"]["last_seq"]))
        before, self._epoch = self._epoch, epoch
        if before is not None and (epoch.created != before.created or epoch.last < max(before.last, self._sequence)):
            _log.warning("the control records were replaced, perhaps by an older copy: reading all of them again")
            self._stale = True


class _Epoch(NamedTuple):
    """Identify a stream: when it was created, and its last sequence."""

    created: str
    last: int


def unreadable(error: ValidationError) -> str:
    """Return in one line why a record cannot be read."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def _require(sequence: int, newest: int) -> None:
    """Refuse what a replica behind the leader has answered. Raises `ConnectionFailed`."""
    if sequence < newest:
        raise ConnectionFailed(
            f"the replica that answered has the control records up to {sequence}, the leader up to {newest}",
            remedy="try again after a moment: it is catching up",
        )


def _is_copied(key: str) -> bool:
    known = parse_key(key)
    return known is not None and known.family in _COPIED


def _readable(kind: type[Record], data: bytes) -> bool:
    try:
        kind.model_validate_json(data)
    except ValidationError:
        return False
    return True


def _gone(message: Msg) -> bool:
    fields = message.headers or {}
    return headers.STATUS in fields or fields.get(_OPERATION) in _DELETED
