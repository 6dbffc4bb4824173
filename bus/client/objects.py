"""Objects: the last value per tenant, type and id, with compare-and-set.

nats-server republishes every change to `live.<tenant>.<type>.<id>`, which browsers subscribe to. A deletion leaves a
tombstone, which they receive, too. The bytes of an object and a tenant's writes per second in one process are limited.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from headway.bus.client.limits import Rates
from headway.bus.client.mergepatch import merged
from headway.bus.errors import InvalidSubject, NotFound, TooLarge
from headway.bus.nats import values
from headway.bus.nats.cas import TRIES, compare_and_set
from headway.bus.nats.streams import OBJECTS, TOMBSTONES
from headway.bus.wire import headers, subjects
from headway.bus.wire.codec import Codec, codec_for, encode
from headway.bus.wire.exact import refuse_inexact

T = TypeVar("T")

_log = logging.getLogger("headway.bus")

OPERATION: Final = "Headway-Operation"
DELETED: Final = "delete"

MAX_OBJECT: Final = 256 * 1024
"""Maximum bytes of an object. Each change sends the whole object to all browsers of its tenant."""
RATE: Final = 2000.0
"""Sustained writes per second of one tenant in one process."""
BURST: Final = 20_000.0
"""Writes that one tenant may make in a burst after a pause."""


@dataclass(frozen=True, slots=True)
class Object(Generic[T]):
    """One object as it was read.

    Attributes:
        id: its id.
        value: its value.
        revision: the sequence of its last change; pass it as `expect` to write only if it is unchanged.
        at: when it was changed.
    """

    id: str
    value: T
    revision: int
    at: datetime


class Objects:
    """The objects of one tenant.

    Args:
        js: the context.
        tenant: the tenant.
        rates: rate limits of this process's writes, by tenant.
    """

    __slots__ = ("_js", "_rates", "_tenant")

    def __init__(self, js: JetStreamContext, tenant: str, rates: Rates) -> None:
        self._js = js
        self._tenant = tenant
        self._rates = rates

    async def put(self, type_: str, id_: str, value: Any, *, expect: int | None = None) -> int:
        """Write an object.

        Args:
            type_: its type, a token.
            id_: its id.
            value: a model, a dataclass or plain JSON types.
            expect: the revision it must still have, 0 for "must never have existed"; None writes unconditionally.

        Returns:
            Its new revision.

        Raises:
            Conflict: if it has another revision.
            InvalidInput: if it contains an integer beyond 2^53 - 1, which browsers would round.
            TooLarge: if it has more than `MAX_OBJECT` bytes.
            RateLimited: if this process writes too often for the tenant.
            QueueFull: if the stream's bound is reached.
            NotStored: without an acknowledgement in time.
        """
        return await self._write(subjects.obj(self._tenant, type_, id_), encode(value), {}, expect)

    async def patch(self, type_: str, id_: str, changes: Any, *, tries: int = TRIES) -> int:
        """Change parts of an object by a JSON merge patch (RFC 7386).

        A value replaces a member, None removes it, a dict is merged recursively. The object is read, changed and
        written by compare-and-set; after a conflict this is repeated.

        Args:
            type_: its type, a token.
            id_: its id.
            changes: a dict, or a model or dataclass whose JSON form is an object.
            tries: maximum number of attempts after conflicts.

        Returns:
            Its revision; the same as before if nothing changed.

        Raises:
            NotFound: if there is no such object.
            Conflict: if another writer was first each time.
            TooLarge, RateLimited, QueueFull, NotStored: as `put`.
        """
        subject = subjects.obj(self._tenant, type_, id_)
        wanted = orjson.loads(encode(changes))
        codec: Codec[Any] = codec_for(Any)

        async def once() -> int:
            found = await self._found(subject, codec)
            if found is None:
                raise NotFound(f"there is no {type_} {id_} to change", remedy="put it first")
            value = merged(found.value, wanted)
            if value == found.value:
                return found.revision
            return await self._write(subject, encode(value), {}, found.revision)

        return await compare_and_set(once, f"{type_} {id_}", tries)

    async def delete(self, type_: str, id_: str, *, expect: int | None = None, keep: float = TOMBSTONES) -> int:
        """Delete an object, leaving a tombstone.

        Args:
            type_: its type, a token.
            id_: its id.
            expect: as `put`.
            keep: whole seconds that the tombstone stays. A page that was offline for longer reloads everything.

        Returns:
            The tombstone's revision.

        Raises:
            Conflict, RateLimited, QueueFull, NotStored: as `put`.
        """
        return await self._write(subjects.obj(self._tenant, type_, id_), b"", {OPERATION: DELETED}, expect, ttl=keep)

    async def get(self, type_: str, id_: str, as_: type[T]) -> Object[T] | None:
        """Return an object; None if there is none.

        In a cluster any replica answers, and it can be behind: it may not have a write of a moment ago yet. Before
        None is returned, the leader is asked.

        Raises:
            MissingStream: if the stream of objects does not exist.
            ConnectionFailed: without an answer in time.
        """
        return await self._found(subjects.obj(self._tenant, type_, id_), codec_for(as_))

    async def list(self, type_: str, as_: type[T]) -> list[Object[T]]:
        """Return all objects of a type, without tombstones, in the order of their last change.

        An object whose id breaks the grammar, which only other software can write, is skipped and logged.

        Raises:
            MissingStream: if the stream of objects does not exist.
            ConnectionFailed: without an answer in time.
        """
        codec = codec_for(as_)
        wanted = subjects.obj_filter(self._tenant, type_)
        found = [_read(message, codec) async for message in values.since(self._js, OBJECTS, wanted)]
        return [item for item in found if item is not None]

    async def _found(self, subject: str, codec: Codec[T]) -> Object[T] | None:
        found = _read(await values.last(self._js, OBJECTS, subject), codec)
        if found is not None:
            return found
        message = await values.newest(self._js, OBJECTS, subject)
        return None if message is None else _read(message, codec)

    async def _write(
        self, subject: str, payload: bytes, sent: dict[str, str], expect: int | None, *, ttl: float | None = None
    ) -> int:
        if len(payload) > MAX_OBJECT:
            raise TooLarge(f"{subject}: the object has {len(payload)} bytes, the limit is {MAX_OBJECT}")
        refuse_inexact(payload, subject)
        self._rates.check(self._tenant, time.monotonic(), f"objects of tenant {self._tenant} written by this process")
        return await values.write(self._js, OBJECTS, subject, payload, sent, expect, ttl=ttl)


def is_tombstone(fields: Mapping[str, str]) -> bool:
    """Return whether headers mark a deletion, made by Headway, a key-value client or the server."""
    return (
        fields.get(OPERATION) == DELETED
        or fields.get("KV-Operation") in ("DEL", "PURGE")
        or "Nats-Marker-Reason" in fields
    )


def _read(message: Msg, codec: Codec[T]) -> Object[T] | None:
    fields = message.headers or {}
    if headers.STATUS in fields or is_tombstone(fields):
        return None
    try:
        id_ = subjects.parse_obj(fields[values.SUBJECT]).id
    except InvalidSubject as error:
        _log.warning("an object is skipped: %s", error)
        return None
    return Object(
        id=id_,
        value=codec.decode(message.data),
        revision=int(fields[values.SEQUENCE]),
        at=datetime.fromisoformat(fields[values.TIME_STAMP]).astimezone(UTC),
    )
