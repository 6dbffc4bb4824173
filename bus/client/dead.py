"""Dead letters: work that was given up, kept with its cause, to be looked at, replayed or purged.

A dead letter is the original message under `dead.<service>.<tenant>.<operation>` in stream `DEAD`, payload and
headers as they were, with `Headway-Dead-*` headers that say why.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError

from headway.bus.errors import NotFound
from headway.bus.nats import values
from headway.bus.nats.refusals import GONE, asking, translate
from headway.bus.nats.streams import DEAD
from headway.bus.wire import headers, subjects

if TYPE_CHECKING:
    from headway.bus.client.bus import Bus

_TIMEOUT = 5.0
_DIGEST = 12
_HEADER_ROOM = 8192
_OF_STORAGE = frozenset(
    {
        "Nats-Stream",
        values.SUBJECT,
        values.SEQUENCE,
        "Nats-Time-Stamp",
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
        "Nats-UpTo-Sequence",
    }
)
"""Headers that JetStream adds to what it gives."""
_OUR_HEADERS = ("Nats-Expected-", "Nats-Msg-Id", headers.TIMEOUT)


class Cause(StrEnum):
    """Why work was given up."""

    ERROR = "error"
    """Its last attempt failed."""
    REJECTED = "rejected"
    """The handler refused it for good."""
    INVALID_INPUT = "invalid_input"
    """It does not validate."""
    UNKNOWN_OPERATION = "unknown_operation"
    """The version has no handler for it."""
    WORKER_LOST = "worker_lost"
    """Workers died with it in hand as often as it may be attempted."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is stored.

    Attributes:
        seq: its sequence in stream `DEAD`, which names it.
        service, tenant, operation: whose it is; an event's operation is `on-<type>`.
        cause: a `Cause`, as text.
        reason: one line.
        attempts: how often it was tried.
        traceback: digest of the failing code path: equal digests are the same fault.
        subject, stream, stream_seq: where the original was.
        at: when it was given up.
        payload: the original payload.
        headers: the original headers.
        blob: name of the tenant's blob that holds the payload, if it was too large to keep beside its headers.
    """

    seq: int
    service: str
    tenant: str
    operation: str
    cause: str
    reason: str
    attempts: int
    traceback: str
    subject: str
    stream: str
    stream_seq: int
    at: datetime
    payload: bytes
    headers: Mapping[str, str]
    blob: str = ""


def operation_of_event(event_type: str) -> str:
    """The operation under which a dead event is filed. Long types are cut to fit the grammar."""
    return f"on-{event_type.replace('.', '-')}"[:63]


def digest(error: BaseException) -> str:
    """A digest of the code path of an error: its type, and the file name and function of each frame.

    Line numbers and messages are left out, so that the same fault keeps its digest over releases and payloads.
    """
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    frames = [f"{PurePath(code.co_filename).name}:{code.co_name}" for code in codes]
    return hashlib.sha256("\n".join([type(error).__qualname__, *frames]).encode()).hexdigest()[:_DIGEST]


def compose(
    original: Mapping[str, str] | None,
    *,
    cause: Cause,
    reason: str,
    attempts: int,
    error: BaseException | None,
    subject: str,
    stream: str,
    sequence: int,
    at: datetime,
) -> dict[str, str]:
    """The headers of a dead letter: the original's, and why it died.

    The message id is made of where the original was: giving up the same message twice stores one letter.
    """
    kept = {k: v for k, v in (original or {}).items() if not k.startswith(_OUR_HEADERS)}
    return {
        **kept,
        headers.MESSAGE_ID: f"{stream}.{sequence}",
        headers.DEAD_CAUSE: cause.value,
        headers.DEAD_REASON: headers.clean(reason),
        headers.DEAD_ATTEMPTS: str(attempts),
        headers.DEAD_TRACEBACK: digest(error) if error is not None else "",
        headers.DEAD_SUBJECT: subject,
        headers.DEAD_STREAM: stream,
        headers.DEAD_SEQUENCE: str(sequence),
        headers.DEAD_AT: at.isoformat(),
    }


async def bury(
    bus: Bus, service: str, tenant: str, operation: str, payload: bytes, fields: dict[str, str], timeout: float
) -> None:
    """Store a dead letter. A payload that leaves no room for the headers goes into a blob that the letter names.

    Raises:
        StoreError, CallError, ConnectionFailed: if it could not be stored.
    """
    if len(payload) + _HEADER_ROOM > bus.nc.max_payload:
        name = f"dead/{fields[headers.DEAD_STREAM]}-{fields[headers.DEAD_SEQUENCE]}"
        await bus.tenant(tenant).blobs.put(name, payload)
        fields, payload = {**fields, headers.DEAD_BLOB: name}, b""
    await bus.store(subjects.dead(service, tenant, operation), payload, fields, timeout)


async def show(js: JetStreamContext, seq: int) -> DeadLetter:
    """One dead letter.

    Raises:
        NotFound: if there is none under that sequence.
        MissingStream, ConnectionFailed: if stream `DEAD` cannot be read.
    """
    try:
        async with asking(f"stream {DEAD}", _TIMEOUT):
            message = await js.get_msg(DEAD, seq)
    except NotFound as error:
        raise NotFound(f"there is no dead letter {seq}", remedy="see `headway dead ls`") from error
    return _letter(message.subject or "", seq, message.data or b"", message.headers or {})


async def list_(
    js: JetStreamContext, service: str | None = None, tenant: str | None = None, start: int = 1
) -> AsyncIterator[DeadLetter]:
    """The dead letters of a service and tenant, oldest first; None means all.

    Args:
        js: the context.
        service: of which service.
        tenant: of which tenant.
        start: the first sequence to look at.

    Raises:
        InvalidSubject: if a name breaks the grammar.
        MissingStream, ConnectionFailed: if stream `DEAD` cannot be read.
    """
    async for message in values.since(js, DEAD, subjects.dead_filter(service, tenant), start):
        found = message.headers or {}
        yield _letter(found[values.SUBJECT], int(found[values.SEQUENCE]), message.data, found)


async def replay(bus: Bus, letter: DeadLetter) -> None:
    """Send the original again, to whichever version serves now, and delete the letter.

    A job goes back to its queue. An event goes only to the service that gave it up. Replayed twice, or by two
    people at once, it is stored once.

    Raises:
        NotServed, QueueFull, NotStored: if it could not be stored; the letter is then kept.
    """
    sent = {**letter.headers, headers.MESSAGE_ID: f"replay.{letter.seq}"}
    blobs = bus.tenant(letter.tenant).blobs
    payload = await blobs.get(letter.blob) if letter.blob else letter.payload
    if letter.subject.startswith("event."):
        sent[headers.ONLY] = letter.service
        subject = letter.subject
    else:
        subject = subjects.job(letter.service, letter.tenant, letter.operation)
    await bus.store(subject, payload, sent)
    await purge(bus.js, letter.seq)
    if letter.blob:
        await blobs.delete(letter.blob)


async def discard(bus: Bus, letter: DeadLetter) -> None:
    """Delete a dead letter for good, with the blob that it may have. Raises as `purge`."""
    if letter.blob:
        await bus.tenant(letter.tenant).blobs.delete(letter.blob)
    await purge(bus.js, letter.seq)


async def purge(js: JetStreamContext, seq: int) -> None:
    """Delete a dead letter for good; one that is gone already is no error.

    Raises:
        MissingStream, ConnectionFailed: if stream `DEAD` cannot be changed.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            await js.delete_msg(DEAD, seq)
    except (TimeoutError, nats.errors.Error) as error:
        if not (isinstance(error, APIError) and error.err_code in GONE):
            raise translate(error, f"dead letter {seq}") from error


def _letter(filed: str, seq: int, payload: bytes, found: Mapping[str, str]) -> DeadLetter:
    service, tenant, operation = subjects.parse_dead(filed)
    return DeadLetter(
        seq=seq,
        service=service,
        tenant=tenant,
        operation=operation,
        cause=found.get(headers.DEAD_CAUSE, ""),
        reason=found.get(headers.DEAD_REASON, ""),
        attempts=int(found.get(headers.DEAD_ATTEMPTS, "0")),
        traceback=found.get(headers.DEAD_TRACEBACK, ""),
        subject=found.get(headers.DEAD_SUBJECT, ""),
        stream=found.get(headers.DEAD_STREAM, ""),
        stream_seq=int(found.get(headers.DEAD_SEQUENCE, "0")),
        at=datetime.fromisoformat(found[headers.DEAD_AT]) if headers.DEAD_AT in found else datetime.now(UTC),
        payload=payload,
        headers={
            k: v
            for k, v in found.items()
            if not k.startswith(headers.DEAD_PREFIX) and k != headers.MESSAGE_ID and k not in _OF_STORAGE
        },
        blob=found.get(headers.DEAD_BLOB, ""),
    )
