"""Read the stream `OBJECTS`: changes, its identity and its last sequence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from headway.bus.client.objects import is_tombstone
from headway.bus.errors import InvalidSubject
from headway.bus.nats import values
from headway.bus.nats.internals import connection
from headway.bus.nats.refusals import JsCode, asking, refusal
from headway.bus.nats.streams import OBJECTS
from headway.bus.nats.values import ValuePage
from headway.bus.wire import subjects

EVERYTHING: Final = "obj.*.*.*"
PAGE: Final = 1000
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of an object.

    Attributes:
        tenant, type, id: the object.
        seq: the sequence of the change in the stream.
        deleted: whether the change deleted the object.
        data: its JSON; empty for a tombstone.
        ttl: seconds that a tombstone stays; None if it stays forever.
    """

    tenant: str
    type: str
    id: str
    seq: int
    deleted: bool
    data: bytes
    ttl: float | None


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The stream's properties, as reported by its leader.

    Attributes:
        epoch: identifies the stream; it changes when the stream is recreated and sequences start again.
        created: when the stream was created.
        last: the highest sequence.
        replicas: number of replicas.
    """

    epoch: str
    created: datetime
    last: int
    replicas: int


def read(message: Msg) -> Change | None:
    """Return the change in a message of a direct get; None if its subject breaks the grammar.

    Such a subject can only be written by other software.
    """
    fields = message.headers or {}
    try:
        subject = subjects.parse_obj(fields[values.SUBJECT])
    except InvalidSubject:
        return None
    deleted = is_tombstone(fields)
    ttl = _seconds(fields.get("Nats-TTL", "")) if deleted else None
    return Change(*subject, seq=int(fields[values.SEQUENCE]), deleted=deleted, data=message.data, ttl=ttl)


def seq_of(message: Msg) -> int:
    """Return the sequence of a message of a direct get."""
    return int((message.headers or {})[values.SEQUENCE])


class Store:
    """Reads the stream.

    Args:
        js: the context of a connection with permission to read it.
    """

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def page(self, wanted: str, start: int | datetime, *, batch: int = PAGE, max_bytes: int = 0) -> ValuePage:
        """Return a page of messages, as `headway.bus.nats.values.page`."""
        return await values.page(self._js, OBJECTS, wanted, start, batch=batch, max_bytes=max_bytes)

    async def facts(self) -> ObjectFacts:
        """Return the stream's properties from its leader.

        Raises:
            MissingStream: if the stream does not exist.
            StoreError, ConnectionFailed: without an answer.
        """
        said = await self._ask(f"$JS.API.STREAM.INFO.{OBJECTS}", {})
        created = datetime.fromisoformat(said["created"])
        return ObjectFacts(
            epoch=said["created"],
            created=created,
            last=int(said["state"]["last_seq"]),
            replicas=int(said["config"].get("num_replicas", 1)),
        )

    async def last(self, wanted: str) -> int:
        """Return the highest sequence of a filter from the leader; 0 if there is none.

        Raises:
            MissingStream: if the stream does not exist.
            StoreError, ConnectionFailed: without an answer.
        """
        said = await self._ask(f"$JS.API.STREAM.MSG.GET.{OBJECTS}", {"last_by_subj": wanted})
        return int(said["message"]["seq"]) if "message" in said else 0

    async def _ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        async with asking(subject, _TIMEOUT):
            reply = await connection(self._js).request(subject, orjson.dumps(body) if body else b"", timeout=_TIMEOUT)
        said: dict[str, Any] = orjson.loads(reply.data)
        refused = said.get("error")
        if refused is None or refused.get("err_code") == JsCode.NO_MESSAGE:
            return said
        raise refusal(f"stream {OBJECTS}", refused)


_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}


def _seconds(ttl: str) -> float | None:
    """Parse a `Nats-TTL`, in seconds or as a Go duration such as 720h0m0s; None for an empty one and for `never`."""
    if ttl.isascii() and ttl.isdigit():
        return float(ttl)
    total, number = 0.0, ""
    for letter in ttl:
        if letter in "0123456789.":
            number += letter
        elif letter in _UNITS and number:
            total, number = total + float(number) * _UNITS[letter], ""
        else:
            return None
    return total if total and not number else None
