"""Dead letters: work that was given up, kept with its cause to be inspected, replayed or purged.

A dead letter is the original message under `dead.<service>.<tenant>.<operation>` in stream `DEAD`, with its payload
and headers unchanged and additional `Headway-Dead-*` headers that give the cause.
"""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

from nats.js import JetStreamContext

from headway.bus.errors import NotFound, StoreError
from headway.bus.nats import values
from headway.bus.nats.refusals import asking, is_gone
from headway.bus.nats.streams import DEAD
from headway.bus.wire import headers, subjects

if TYPE_CHECKING:
    from headway.bus.client.bus import Bus

_TIMEOUT = 5.0
_log = logging.getLogger("headway.bus")
_DIGEST = 12
_ROOM = 8192
"""Minimum bytes reserved for the headers of a letter with a large payload."""
_MORE = 512
"""Bytes reserved for headers that name blobs or carry a trace."""
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
"""Headers that JetStream adds to messages it returns."""
_OUR_HEADERS = ("Nats-Expected-", "Nats-Msg-Id", headers.TIMEOUT)


class Cause(StrEnum):
    """Why work was given up."""

    ERROR = "error"
    """The last attempt failed."""
    REJECTED = "rejected"
    """The handler refused the message for good."""
    INVALID_INPUT = "invalid_input"
    """The message does not validate."""
    UNKNOWN_OPERATION = "unknown_operation"
    """The version has no handler for the operation."""
    WORKER_LOST = "worker_lost"
    """As many workers died while processing it as it may have attempts."""
    BLOCKED = "blocked_loop"
    """As `WORKER_LOST`, and it blocked their event loop; the reason names file and line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is stored.

    Attributes:
        seq: its sequence in stream `DEAD`, which identifies it.
        service, tenant, operation: what it was sent to; an event's operation is `on-<type>`.
        cause: a `Cause`, as text.
        reason: one line.
        attempts: number of attempts.
        traceback: digest of the failing code path; equal digests mean the same fault.
        subject, stream, stream_seq: where the original was stored.
        at: when it was given up.
        payload: the original payload.
        headers: the original headers.
        blob: name of the tenant's blob with the payload, if payload and headers together were too large.
        headers_blob: name of the tenant's blob with the headers, if they were too large.
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
    headers_blob: str = ""


def operation_of_event(event_type: str) -> str:
    """Return the operation of a dead event's subject. Long types are truncated to fit the grammar."""
    return f"on-{event_type.replace('.', '-')}"[:63]


def digest(error: BaseException) -> str:
    """Return a digest of an error's code path: its type, and the file name and function of each frame.

    It leaves out line numbers and messages, so that a fault keeps its digest across releases and payloads.
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
    error: BaseException | str | None,
    subject: str,
    stream: str,
    sequence: int,
    at: datetime,
) -> dict[str, str]:
    """Return the headers of a dead letter: the original's, and the cause. `error` is the exception or its digest.

    The message id is derived from the original's stream and sequence: giving up a message twice stores one letter.
    """
    kept, unsendable = headers.sendable(
        {k: v for k, v in (original or {}).items() if not k.startswith((*_OUR_HEADERS, headers.DEAD_PREFIX))}
    )
    if unsendable:
        kept[headers.DEAD_HEADERS] = json.dumps(unsendable)
    return {
        **kept,
        headers.MESSAGE_ID: f"{stream}.{sequence}",
        headers.DEAD_CAUSE: cause.value,
        headers.DEAD_REASON: headers.clean(reason),
        headers.DEAD_ATTEMPTS: str(attempts),
        headers.DEAD_TRACEBACK: error if isinstance(error, str) else digest(error) if error is not None else "",
        headers.DEAD_SUBJECT: headers.clean(subject),
        headers.DEAD_STREAM: stream,
        headers.DEAD_SEQUENCE: str(sequence),
        headers.DEAD_AT: at.isoformat(),
    }


async def bury(
    bus: Bus, service: str, tenant: str, operation: str, payload: bytes, fields: dict[str, str], timeout: float
) -> None:
    """Store a dead letter. Headers or a payload that are too large go into a blob that the letter names.

    Any message can be stored: invalid tenants and operations are adapted to the grammar, the original subject is kept.

    Raises:
        StoreError, CallError, ConnectionFailed: if it could not be stored.
    """
    tenant, operation = subjects.fit(tenant), subjects.fit(operation)
    name = f"dead/{fields[headers.DEAD_STREAM]}-{fields[headers.DEAD_SEQUENCE]}"
    if headers.size(fields) + _MORE > headers.MAX_SIZE:
        ours = {k: v for k, v in fields.items() if k.startswith((headers.DEAD_PREFIX, headers.MESSAGE_ID))}
        hidden = json.loads(ours.pop(headers.DEAD_HEADERS, "{}"))
        original = {k: v for k, v in fields.items() if k not in ours and k != headers.DEAD_HEADERS}
        await bus.tenant(tenant).blobs.put(f"{name}-headers", json.dumps({**original, **hidden}).encode())
        fields = {**ours, headers.DEAD_HEADERS_BLOB: f"{name}-headers"}
    if max(headers.size(fields) + _MORE, _ROOM) + len(payload) > bus.nc.max_payload:
        await bus.tenant(tenant).blobs.put(name, payload)
        fields, payload = {**fields, headers.DEAD_BLOB: name}, b""
    await bus.store(subjects.dead(service, tenant, operation), payload, fields, timeout)


async def show(js: JetStreamContext, seq: int) -> DeadLetter:
    """Return one dead letter.

    Raises:
        NotFound: if there is none with that sequence.
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
    """Yield the dead letters of a service and tenant, oldest first.

    Args:
        js: the context.
        service: the service; None for all.
        tenant: the tenant; None for all.
        start: the first sequence to read.

    Raises:
        InvalidSubject: if a name breaks the grammar.
        MissingStream, ConnectionFailed: if stream `DEAD` cannot be read.
    """
    async for message in values.since(js, DEAD, subjects.dead_filter(service, tenant), start):
        found = message.headers or {}
        yield _letter(found[values.SUBJECT], int(found[values.SEQUENCE]), message.data, found)


async def replay(bus: Bus, letter: DeadLetter) -> None:
    """Send the original message again, to the version that serves now, and delete the letter.

    A job goes back to its queue. An event goes only to the service that gave it up. If it is replayed twice, or by two
    people at once, it is stored once.

    Raises:
        InvalidSubject: if its operation breaks the grammar, so that no version can have a handler for it.
        NotServed, QueueFull, NotStored: if it could not be stored; the letter is then kept.
    """
    blobs = bus.tenant(letter.tenant).blobs
    original = json.loads(await blobs.get(letter.headers_blob)) if letter.headers_blob else letter.headers
    sent, unsendable = headers.sendable({**original, headers.MESSAGE_ID: f"replay.{letter.seq}"})
    if unsendable:
        _log.warning("dead letter %d: headers that cannot be sent are left out: %r", letter.seq, sorted(unsendable))
    payload = await blobs.get(letter.blob) if letter.blob else letter.payload
    if letter.subject.startswith("event."):
        sent[headers.ONLY] = letter.service
        subject = letter.subject
    else:
        tenant, operation = subjects.job_addressee(letter.subject)
        subject = subjects.job(letter.service, tenant, operation)
    await bus.store(subject, payload, sent)
    await purge(bus.js, letter.seq)
    for name in filter(None, (letter.blob, letter.headers_blob)):
        await blobs.delete(name)


async def discard(bus: Bus, letter: DeadLetter) -> None:
    """Delete a dead letter and its blobs. Raises as `purge`."""
    for name in filter(None, (letter.blob, letter.headers_blob)):
        await bus.tenant(letter.tenant).blobs.delete(name)
    await purge(bus.js, letter.seq)


async def purge(js: JetStreamContext, seq: int) -> None:
    """Delete a dead letter; a missing one is not an error.

    Raises:
        MissingStream, ConnectionFailed: if stream `DEAD` cannot be changed.
    """
    try:
        async with asking(f"dead letter {seq}", _TIMEOUT):
            await js.delete_msg(DEAD, seq)
    except StoreError as error:
        if not is_gone(error):
            raise


def _letter(filed: str, seq: int, payload: bytes, found: Mapping[str, str]) -> DeadLetter:
    service, tenant, operation = (*filed.split(".", 3)[1:], "", "", "")[:3]
    return DeadLetter(
        seq=seq,
        service=service,
        tenant=tenant,
        operation=operation,
        cause=found.get(headers.DEAD_CAUSE, ""),
        reason=found.get(headers.DEAD_REASON, ""),
        attempts=_number(found.get(headers.DEAD_ATTEMPTS, "")),
        traceback=found.get(headers.DEAD_TRACEBACK, ""),
        subject=found.get(headers.DEAD_SUBJECT, ""),
        stream=found.get(headers.DEAD_STREAM, ""),
        stream_seq=_number(found.get(headers.DEAD_SEQUENCE, "")),
        at=_time(found.get(headers.DEAD_AT, "")),
        payload=payload,
        headers={
            k: v
            for k, v in found.items()
            if not k.startswith(headers.DEAD_PREFIX) and k != headers.MESSAGE_ID and k not in _OF_STORAGE
        }
        | _hidden(found.get(headers.DEAD_HEADERS, "{}")),
        blob=found.get(headers.DEAD_BLOB, ""),
        headers_blob=found.get(headers.DEAD_HEADERS_BLOB, ""),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _time(text: str) -> datetime:
    """Return the time in a header; the unix epoch if it cannot be parsed."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _hidden(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
