"""Streams that keep the last value of each subject: read one, read changes, write by compare-and-set.

Reads are direct gets (ADR-31): any replica answers, without a consumer, and may be behind its leader.

While a cluster elects the leader of a stream, no server answers for it. A request to the cluster distinguishes that
from a stream that does not exist; then the original request is repeated until there is a leader.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import nats.errors
import nats.js.errors
import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from headway.bus.errors import ConnectionFailed, MissingStream, NotStored, StoreError
from headway.bus.nats import direct
from headway.bus.nats.internals import connection
from headway.bus.nats.refusals import CONFLICTS, UNAVAILABLE, JsCode, is_full, translate
from headway.bus.wire import headers

SEQUENCE: Final = "Nats-Sequence"
SUBJECT: Final = "Nats-Subject"

TIME_STAMP: Final = "Nats-Time-Stamp"

ADDED: Final = frozenset(
    {
        "Nats-Stream",
        SUBJECT,
        SEQUENCE,
        TIME_STAMP,
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
        "Nats-UpTo-Sequence",
    }
)
"""Headers that JetStream adds to messages it returns."""

T = TypeVar("T")

TIMEOUT: Final = 5.0
"""Seconds for one request."""
_AGAIN = 0.1
"""Average seconds between requests to a stream without a leader."""
_PAGE = 512
_EMPTY = "404"
_END_OF_BATCH = "204"
_NO_RESPONDERS = "503"


async def last(js: JetStreamContext, stream: str, subject: str) -> Msg:
    """Return the last message of a subject, or one with a status header if the replica that answers has none.

    Raises:
        MissingStream: if the stream does not exist.
        ConnectionFailed: without an answer in time.
    """

    async def ask(left: float) -> Msg:
        return await connection(js).request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=left)

    return await _answered(js, stream, subject, ask)


async def newest(js: JetStreamContext, stream: str, subject: str) -> Msg | None:
    """Return the last message of a subject from the stream's leader; None if there is none.

    It includes every acknowledged write, unless this leader has just lost its majority without knowing it yet.

    Raises:
        MissingStream: if the stream does not exist.
        StoreError: if the server refuses.
        ConnectionFailed: without an answer in time.
    """
    return await _of_leader(js, stream, subject, {"last_by_subj": subject})


async def following(js: JetStreamContext, stream: str, wanted: str, start: int) -> Msg | None:
    """Return the first message of a filter from a sequence on, from the stream's leader; None if there is none.

    Unlike `page` it also reads streams without direct gets. Raises as `newest`.
    """
    return await _of_leader(js, stream, wanted, {"seq": start, "next_by_subj": wanted})


async def _of_leader(js: JetStreamContext, stream: str, subject: str, wanted: dict[str, object]) -> Msg | None:
    asked = orjson.dumps(wanted)

    async def ask(left: float) -> dict[str, Any]:
        reply = await connection(js).request(f"$JS.API.STREAM.MSG.GET.{stream}", asked, timeout=left)
        said: dict[str, Any] = orjson.loads(reply.data)
        if "error" in said:
            APIError.from_error(said["error"])
        return said

    try:
        return _direct(js, (await _answered(js, stream, subject, ask))["message"])
    except APIError as error:
        if error.err_code == JsCode.NO_MESSAGE:
            return None
        raise translate(error, subject) from error


@dataclass(frozen=True, slots=True)
class ValuePage:
    """A part of a stream, in order.

    Attributes:
        messages: what was found.
        more: whether more messages follow.
    """

    messages: list[Msg]
    more: bool


async def page(
    js: JetStreamContext, stream: str, wanted: str, start: int | datetime, *, batch: int = _PAGE, max_bytes: int = 0
) -> ValuePage:
    """Return the next messages of a filter, in one request (ADR-31).

    A replica that is behind may answer: its messages are complete up to the last one it returns, but later ones may
    be missing.

    Args:
        js: the context.
        stream: its name.
        wanted: subject filter.
        start: first sequence, or the time of the first message.
        batch: maximum number of messages.
        max_bytes: approximate maximum of bytes; 0 uses the server's limit.

    Raises:
        MissingStream: if the stream does not exist.
        ConnectionFailed: without an answer in time.
    """
    ask: dict[str, object] = {"next_by_subj": wanted, "batch": batch}
    ask |= {"start_time": start.isoformat()} if isinstance(start, datetime) else {"seq": start}
    if max_bytes:
        ask["max_bytes"] = max_bytes
    found, said = await _answered(js, stream, wanted, lambda left: _batch(js, stream, orjson.dumps(ask), left))
    status = said[headers.STATUS]
    if status not in (_EMPTY, _END_OF_BATCH):
        raise StoreError(f"{wanted}: JetStream says {status} {said.get(headers.DESCRIPTION, '')}")
    return ValuePage(found, more=bool(found) and int(said.get("Nats-Num-Pending", "0")) > 0)


async def since(js: JetStreamContext, stream: str, wanted: str, start: int = 1) -> AsyncIterator[Msg]:
    """Yield the messages from a sequence on, in order, with one request per page.

    Args:
        js: the context.
        stream: its name.
        wanted: subject filter.
        start: first sequence.

    Raises:
        MissingStream: if the stream does not exist.
        ConnectionFailed: without an answer in time.
    """
    more = True
    while more:
        found = await page(js, stream, wanted, start)
        more = found.more
        for message in found.messages:
            start = int((message.headers or {})[SEQUENCE]) + 1
            yield message


async def write(
    js: JetStreamContext,
    stream: str,
    subject: str,
    payload: bytes,
    sent: dict[str, str],
    expect: int | None,
    *,
    ttl: float | None = None,
) -> int:
    """Write a value and return its sequence, which is its revision.

    Args:
        js: the context.
        stream: its name.
        subject: subject of the value.
        payload: the value.
        sent: headers.
        expect: the revision it must still have, 0 for "must not exist"; None writes unconditionally.
        ttl: whole seconds after which the server removes it (ADR-43).

    Raises:
        Conflict: if it has another revision.
        QueueFull: if the stream's bound is reached.
        MissingStream: if the stream does not exist.
        NotStored: without an acknowledgement in time.
    """
    if expect is not None:
        sent = {**sent, headers.EXPECTED_REVISION: str(expect)}

    async def publish(left: float) -> int:
        # A copy, because nats-py modifies the headers.
        acknowledged = await js.publish(subject, payload, timeout=left, headers=dict(sent) or None, msg_ttl=ttl)
        return int(acknowledged.seq)

    try:
        return await _answered(js, stream, subject, publish)
    except APIError as error:
        what = f"{subject} is not at revision {expect}" if error.err_code in CONFLICTS else subject
        raise translate(error, what) from error
    except ConnectionFailed as error:
        remedy = "read the value before you repeat the write"
        raise NotStored(f"{subject}: not acknowledged: {error.message}", remedy=remedy) from error


async def _answered(js: JetStreamContext, stream: str, subject: str, ask: Callable[[float], Awaitable[T]]) -> T:
    """Send a request to a stream, and repeat it while the stream has no leader.

    A request is repeated only if no server has received it.

    Args:
        js: the context.
        stream: its name.
        subject: for the message of an error.
        ask: sends the request once, given the seconds that are left.

    Raises:
        MissingStream: if the stream does not exist.
        ConnectionFailed: without an answer in time.
        APIError: as `ask`.
    """
    cause: Exception
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return await ask(max(0.001, deadline - time.monotonic()))
        except (nats.errors.NoRespondersError, nats.js.errors.NoStreamResponseError) as error:
            await _exists(js, stream)
            cause, why = error, f"stream {stream} has no leader"
        except APIError as error:
            if error.code != UNAVAILABLE or is_full(error.err_code, error.description):
                raise
            cause, why = error, error.description or "unavailable"
        except (TimeoutError, nats.errors.Error) as error:
            raise translate(error, subject) from error
        if time.monotonic() + _AGAIN >= deadline:
            raise ConnectionFailed(f"{subject}: no answer from JetStream in {TIMEOUT:g} s: {why}") from cause
        await asyncio.sleep(random.uniform(0.5, 1.5) * _AGAIN)


async def _exists(js: JetStreamContext, stream: str) -> None:
    """Raise MissingStream if the cluster says that the stream does not exist; return if it says nothing."""
    try:
        reply = await connection(js).request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=1)
    except (TimeoutError, nats.errors.Error):
        return
    if orjson.loads(reply.data).get("error", {}).get("err_code") == JsCode.STREAM_NOT_FOUND:
        raise MissingStream(f"stream {stream} does not exist")


async def _batch(js: JetStreamContext, stream: str, ask: bytes, timeout: float) -> tuple[list[Msg], dict[str, str]]:
    """Run one batched direct get; return its messages and the headers of the message that ends them."""
    nc = connection(js)
    found: list[Msg] = []
    end: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    def take(message: Msg) -> None:
        fields = message.headers or {}
        if headers.STATUS not in fields:
            found.append(message)
        elif not end.done():
            end.set_result(fields)

    inbox = nc.new_inbox()
    subscription = await direct.subscribe(nc, inbox, take)
    try:
        await nc.publish(f"$JS.API.DIRECT.GET.{stream}", ask, reply=inbox)
        async with asyncio.timeout(timeout):
            said = await end
    finally:
        if not nc.is_closed:
            await subscription.unsubscribe()
    if said[headers.STATUS] == _NO_RESPONDERS:
        raise nats.errors.NoRespondersError
    return found, said


def _direct(js: JetStreamContext, stored: dict[str, Any]) -> Msg:
    """Convert a stored message that the leader returned to the form of a direct get."""
    block = base64.b64decode(stored.get("hdrs", ""))
    lines = block.decode(errors="replace").split("\r\n")[1:]
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    fields |= {SUBJECT: stored["subject"], SEQUENCE: str(stored["seq"]), TIME_STAMP: stored["time"]}
    return Msg(connection(js), stored["subject"], "", base64.b64decode(stored.get("data", "")), fields)
