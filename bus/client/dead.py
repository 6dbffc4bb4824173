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
from typing import TYPE_CHECKING, Final

from nats.js import JetStreamContext

from headway.bus.errors import InvalidSubject, NotFound, QueueFull, StoreError
from headway.bus.nats import values
from headway.bus.nats.refusals import asking, is_gone
from headway.bus.nats.streams import DEAD
from headway.bus.wire import headers, subjects

if TYPE_CHECKING:
    from headway.bus.client.bus import Bus

_TIMEOUT = 5.0
_log = logging.getLogger("headway.bus")
_DIGEST = 12
LETTER: Final = 8192
"""Most bytes of a letter with its headers; whatever is larger goes into blobs."""
BODIES: Final = 256
"""Blobs that the letters of one service and tenant share: a new one replaces the oldest."""
UNFILED: Final = "unknown-operation"
"""Operation in the subjects of letters whose operation no handler has. The bound of a subject then holds for them all,
whatever names a tenant makes up."""
_MORE = 512
"""Bytes reserved for headers that name blobs or carry a trace."""
_KEPT: Final = 2048
"""Bytes of a payload that are kept when there is no room for all of it."""
_YEARS = (1970, 9000)
"""Years that no time zone moves out of what Python can represent."""
_DIGITS = 15
"""Most digits of a number in a header."""


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
    NOT_SERVED = "not_served"
    """No version has accepted a job for later since it was due."""
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
        digest, headers_digest: SHA-256 of these blobs' contents; empty in letters of earlier versions.
        cut: bytes of the original payload, if there was room for its beginning only; otherwise 0.
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
    digest: str = ""
    headers_digest: str = ""
    cut: int = 0


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
    kept, unsendable = headers.sendable(headers.passed_on(original or {}))
    kept.pop(headers.TIMEOUT, None)
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
    Blobs are bounded by service and tenant. If there is no room for one at all, the letter has the beginning of the
    payload only.

    Raises:
        StoreError, CallError, ConnectionFailed: if it could not be stored.
    """
    tenant, operation = subjects.fit(tenant), subjects.fit(operation)
    name = _blob_name(service, int(fields[headers.DEAD_SEQUENCE]))
    blobs = bus.tenant(tenant).blobs
    if headers.size(fields) + _MORE > LETTER:
        ours = {k: v for k, v in fields.items() if k.startswith((headers.DEAD_PREFIX, headers.MESSAGE_ID))}
        hidden = json.loads(ours.pop(headers.DEAD_HEADERS, "{}"))
        original = {k: v for k, v in fields.items() if k not in ours and k != headers.DEAD_HEADERS}
        content = json.dumps({**original, **hidden}).encode()
        fields = {**ours, headers.DEAD_HEADERS_BLOB: f"{name}-headers", headers.DEAD_HEADERS_DIGEST: _sum(content)}
        try:
            await blobs.put(f"{name}-headers", content)
        except QueueFull as error:
            _log.error("a dead letter of %s is stored without its original headers: %s", tenant, error)
            fields = ours
    if headers.size(fields) + _MORE + len(payload) > LETTER:
        try:
            await blobs.put(name, payload)
        except QueueFull as error:
            _log.error("a dead letter of %s is stored with the beginning of its payload only: %s", tenant, error)
            fields = {**fields, headers.DEAD_CUT: str(len(payload))}
            payload = payload[:_KEPT]
        else:
            fields = {**fields, headers.DEAD_BLOB: name, headers.DEAD_DIGEST: _sum(payload)}
            payload = b""
    await bus.store(subjects.dead(service, tenant, operation), payload, fields, timeout)


def _blob_name(service: str, sequence: int) -> str:
    return f"dead/{service}/{sequence % BODIES}"


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
    people at once, it is stored once: its message id is always the same, and nobody can guess it (`bus.ids`).

    Raises:
        InvalidSubject: if its operation breaks the grammar, so that no version can have a handler for it.
        NotFound: if its payload or headers had to make room for newer ones.
        NotServed, QueueFull, NotStored: if it could not be stored; the letter is then kept.
    """
    if letter.cut:
        what = f"dead letter {letter.seq} has only the beginning of its payload of {letter.cut} bytes"
        raise NotFound(what, remedy="have it sent again, and purge the letter")
    original = letter.headers
    if letter.headers_blob:
        original = _hidden(
            (await _body(bus, letter, letter.headers_blob, letter.headers_digest)).decode(errors="replace")
        )
    payload = await _body(bus, letter, letter.blob, letter.digest) if letter.blob else letter.payload
    sent, unsendable = headers.sendable(headers.passed_on(original))
    if unsendable:
        _log.warning("dead letter %d: headers that cannot be sent are left out: %r", letter.seq, sorted(unsendable))
    sent[headers.MESSAGE_ID] = bus.ids.own(f"replay.{letter.seq}")
    if letter.subject.startswith("event."):
        subject = letter.subject
        sent[headers.ONLY] = letter.service
        sent[headers.PROOF] = bus.ids.prove(subjects.parse_event(subject).tenant, "", letter.service)
        sent.pop(headers.ID, None)
    else:
        tenant, operation = _addressee(letter.subject)
        own = tenant == subjects.CONSOLE
        subject = (
            subjects.periodic(letter.service, operation) if own else subjects.job(letter.service, tenant, operation)
        )
    await bus.store(subject, payload, sent)
    await discard(bus, letter)


def _addressee(subject: str) -> tuple[str, str]:
    """Return the tenant and operation of a job's subject, stored in its queue or for later."""
    if subject.startswith("later."):
        _, tenant, operation = subjects.parse_later(subject)
        return tenant, operation
    return subjects.job_addressee(subject)


async def discard(bus: Bus, letter: DeadLetter) -> None:
    """Delete a dead letter and its blobs. Raises as `purge`."""
    for name, digest in ((letter.blob, letter.digest), (letter.headers_blob, letter.headers_digest)):
        if name:
            try:
                await _body(bus, letter, name, digest)
            except (NotFound, InvalidSubject):
                continue  # not the letter's own, or it holds the payload of a newer letter by now
            await bus.tenant(letter.tenant).blobs.delete(name)
    await purge(bus.js, letter.seq)


async def _body(bus: Bus, letter: DeadLetter, name: str, digest: str) -> bytes:
    """Read a blob of a letter.

    Raises:
        NotFound: if the name is not that of a blob of this letter, or the blob belongs to another letter by now.
    """
    own = _blob_name(letter.service, letter.stream_seq) if digest else f"dead/{letter.stream}-{letter.stream_seq}"
    if name not in {own, f"{own}-headers"}:
        raise NotFound(f"dead letter {letter.seq} names a blob that is not its own: {name!r}", remedy="purge it")
    content = await bus.tenant(letter.tenant).blobs.get(name)
    if digest and _sum(content) != digest:
        what = f"the payload of dead letter {letter.seq} had to make room for newer ones"
        raise NotFound(what, remedy=f"purge it; {BODIES} large letters of a service and tenant are kept")
    return content


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
    subject = found.get(headers.DEAD_SUBJECT, "")
    if operation == UNFILED:
        operation = subjects.fit(subject.rpartition(".")[2], UNFILED)
    return DeadLetter(
        seq=seq,
        service=service,
        tenant=tenant,
        operation=operation,
        cause=found.get(headers.DEAD_CAUSE, ""),
        reason=found.get(headers.DEAD_REASON, ""),
        attempts=_number(found.get(headers.DEAD_ATTEMPTS, "")),
        traceback=found.get(headers.DEAD_TRACEBACK, ""),
        subject=subject,
        stream=found.get(headers.DEAD_STREAM, ""),
        stream_seq=_number(found.get(headers.DEAD_SEQUENCE, "")),
        at=_time(found.get(headers.DEAD_AT, "")),
        payload=payload,
        headers={
            k: v
            for k, v in found.items()
            if not k.startswith(headers.DEAD_PREFIX) and k != headers.MESSAGE_ID and k not in values.ADDED
        }
        | _hidden(found.get(headers.DEAD_HEADERS, "{}")),
        blob=found.get(headers.DEAD_BLOB, ""),
        headers_blob=found.get(headers.DEAD_HEADERS_BLOB, ""),
        digest=found.get(headers.DEAD_DIGEST, ""),
        headers_digest=found.get(headers.DEAD_HEADERS_DIGEST, ""),
        cut=_number(found.get(headers.DEAD_CUT, "")),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def _time(text: str) -> datetime:
    """Return the time in a header; the unix epoch if it cannot be parsed, or is not of this age."""
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        at.timestamp()
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
    return at if _YEARS[0] <= at.year <= _YEARS[1] else datetime.fromtimestamp(0, UTC)


def _hidden(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
