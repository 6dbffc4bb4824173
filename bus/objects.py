"""Objects: the last value per tenant, type and id, with compare-and-set. nats-server republishes every change to
`live.<tenant>.<type>.<id>`, where browsers listen; a deletion leaves a tombstone that they see too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from bus import headers, subjects
from bus.codec import Codec, codec_for, encode
from bus.errors import Conflict, ConnectionFailed, MissingStream, NotStored, QueueFull, StoreError
from bus.streams import OBJECTS

T = TypeVar("T")

OPERATION: Final = "Headway-Operation"
DELETED: Final = "delete"

_TIMEOUT = 5.0
_PAGE = 512
_WRONG_LAST_SEQUENCE = 10071
_EMPTY = "404"
_END_OF_BATCH = "204"
_NO_RESPONDERS = "503"


@dataclass(frozen=True, slots=True)
class Object(Generic[T]):
    """One object as it was read.

    Attributes:
        id: its id.
        value: its value.
        revision: the sequence of its last change; pass it as `expect` to write only if nobody else has.
        at: when it was changed.
    """

    id: str
    value: T
    revision: int
    at: datetime


class Objects:
    """The objects of one tenant."""

    __slots__ = ("_js", "_tenant")

    def __init__(self, js: JetStreamContext, tenant: str) -> None:
        self._js = js
        self._tenant = tenant

    async def put(self, type_: str, id_: str, value: Any, *, expect: int | None = None) -> int:
        """Write an object.

        Args:
            type_: its type, a token.
            id_: its id.
            value: a model, a dataclass or plain JSON types.
            expect: the revision it must still have, 0 for "must never have existed"; None writes in any case.

        Returns:
            Its new revision.

        Raises:
            Conflict: if it has another revision.
            QueueFull: if the stream's bound is reached.
            NotStored: without an acknowledgement in time.
        """
        return await self._write(subjects.obj(self._tenant, type_, id_), encode(value), {}, expect)

    async def delete(self, type_: str, id_: str, *, expect: int | None = None) -> int:
        """Delete an object, leaving a tombstone. Returns the tombstone's revision; raises as `put` does."""
        return await self._write(subjects.obj(self._tenant, type_, id_), b"", {OPERATION: DELETED}, expect)

    async def get(self, type_: str, id_: str, as_: type[T]) -> Object[T] | None:
        """Read an object; None if there is none.

        Raises:
            MissingStream: if the stream of objects does not exist.
            ConnectionFailed: without an answer in time.
        """
        subject = subjects.obj(self._tenant, type_, id_)
        try:
            reply = await self._js._nc.request(f"$JS.API.DIRECT.GET.{OBJECTS}.{subject}", b"", timeout=_TIMEOUT)
        except nats.errors.NoRespondersError as error:
            raise MissingStream(f"stream {OBJECTS} does not exist") from error
        except (TimeoutError, nats.errors.Error) as error:
            raise ConnectionFailed(f"{subject}: no answer from JetStream: {error!r}") from error
        return _read(reply, codec_for(as_))

    async def list(self, type_: str, as_: type[T]) -> list[Object[T]]:
        """Read all objects of a type, in the order of their last change. Tombstones are left out.

        Raises:
            MissingStream: if the stream of objects does not exist.
            ConnectionFailed: without an answer in time.
        """
        found: list[Object[T]] = []
        codec = codec_for(as_)
        wanted = subjects.obj_filter(self._tenant, type_)
        nc = self._js._nc
        inbox = nc.new_inbox()
        subscription = await nc.subscribe(inbox)
        try:
            start = 1
            async with asyncio.timeout(_TIMEOUT):
                while True:
                    ask = orjson.dumps({"seq": start, "next_by_subj": wanted, "batch": _PAGE})
                    await nc.publish(f"$JS.API.DIRECT.GET.{OBJECTS}", ask, reply=inbox)
                    last, more = 0, False
                    while True:
                        message = await subscription.next_msg(timeout=_TIMEOUT)
                        fields = message.headers or {}
                        status = fields.get(headers.STATUS)
                        if status == _NO_RESPONDERS:
                            raise MissingStream(f"stream {OBJECTS} does not exist")
                        if status == _EMPTY:
                            break
                        if status == _END_OF_BATCH:
                            more = int(fields.get("Nats-Num-Pending", "0")) > 0
                            break
                        last = int(fields["Nats-Sequence"])
                        item = _read(message, codec)
                        if item is not None:
                            found.append(item)
                    if not more or last == 0:
                        return found
                    start = last + 1
        except (TimeoutError, nats.errors.Error) as error:
            raise ConnectionFailed(f"{wanted}: no answer from JetStream: {error!r}") from error
        finally:
            if not nc.is_closed:
                await subscription.unsubscribe()

    async def _write(self, subject: str, payload: bytes, sent: dict[str, str], expect: int | None) -> int:
        if expect is not None:
            sent[headers.EXPECTED_REVISION] = str(expect)
        try:
            acknowledged = await self._js.publish(subject, payload, timeout=_TIMEOUT, headers=sent)
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                raise Conflict(f"{subject} is not at revision {expect}: {error.description}") from error
            if "maximum" in (error.description or ""):
                raise QueueFull(f"{subject}: {error.description}") from error
            raise StoreError(f"{subject}: {error.description}") from error
        except (nats.errors.NoRespondersError, nats.js.errors.NoStreamResponseError) as error:
            raise MissingStream(f"stream {OBJECTS} does not exist") from error
        except (TimeoutError, nats.errors.Error) as error:
            remedy = "read it again before repeating"
            raise NotStored(f"{subject}: not acknowledged: {error!r}", remedy=remedy) from error
        return int(acknowledged.seq)


def _read(message: Msg, codec: Codec[T]) -> Object[T] | None:
    fields = message.headers or {}
    if headers.STATUS in fields or fields.get(OPERATION) == DELETED:
        return None
    return Object(
        id=fields["Nats-Subject"].rsplit(".", 1)[1],
        value=codec.decode(message.data),
        revision=int(fields["Nats-Sequence"]),
        at=datetime.fromisoformat(fields["Nats-Time-Stamp"]).astimezone(UTC),
    )
