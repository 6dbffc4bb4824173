"""The service `voicemail`: job `deposit`, rpcs `list`, `fetch`, `mark-heard`, `delete`, and missed calls.

A recording is stored in this order: its segments, the object `voicemail/<id>`, its entry in the mailbox. Each step can
be repeated, so a redelivered deposit repeats them without changing what is done. A deleted message leaves a tombstone
of its object, so that a late delivery of its deposit does not create it again.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable

from headway import Conflict, Context, NotFound, Reject, Retry, Service

from . import mailbox as content
from . import recordings
from .audio import process
from .models import (
    CallMissed,
    Chunk,
    Deposit,
    Fetch,
    ListMessages,
    Mailbox,
    MarkHeard,
    Message,
    MessageRef,
    Page,
    VoicemailConfig,
)

MAILBOX = "mailbox"
MESSAGE = "voicemail"

_TRIES = 20
_ENVELOPE = 4096
"""Bytes of a `fetch` reply in addition to the data."""

voicemail = Service(
    "voicemail", config=VoicemailConfig, concurrency=32, description="Keeps recordings and missed calls in mailboxes."
)


@voicemail.job("deposit", retry=Retry(attempts=5, backoff=(0.5, 5, 30)), timeout=60)
async def deposit(request: Deposit, ctx: Context) -> None:
    """Validate, normalize and store a recording, and add it to its mailbox."""
    config = ctx.config(VoicemailConfig)
    found = await ctx.objects.get(MESSAGE, request.message, as_=Message)
    if found is None:
        box, _ = await _read(ctx, request.mailbox)
        content.added(box, request.message, "voicemail", request.caller, 0, 0, config.max_messages)  # room?
        recording = await asyncio.to_thread(process, await _wav(request, ctx), config)
        await recordings.store(ctx, request.message, recording.wav, config.segment_bytes)
        message = Message(
            message=request.message,
            mailbox=request.mailbox,
            caller=request.caller,
            at=time.time(),
            seconds=recording.seconds,
            rate=recording.rate,
            size=len(recording.wav),
            segment_bytes=config.segment_bytes,
            peaks=recording.peaks,
        )
        try:
            await ctx.objects.put(MESSAGE, request.message, message, expect=0)
        except Conflict:
            if await ctx.objects.get(MESSAGE, request.message, as_=Message) is not None:
                raise  # another worker has just stored it: the retry checks the mailbox
            await recordings.delete(ctx, request.message, message.size, message.segment_bytes)
            return  # it was deposited before, and deleted since
    else:
        message = found.value
        if message.mailbox != request.mailbox:
            raise Reject(f"message {request.message} is in another mailbox", remedy="use a new id")
    await _change(
        ctx,
        request.mailbox,
        lambda box: content.added(
            box, message.message, "voicemail", message.caller, message.at, message.seconds, config.max_messages
        ),
    )


@voicemail.on("call.missed", retry=Retry(attempts=5, backoff=(0.5, 5, 30)), timeout=10)
async def call_missed(event: CallMissed, ctx: Context) -> None:
    """Add a missed call to the mailbox of its team, which has the name of the skill."""
    room = ctx.config(VoicemailConfig).max_messages
    id_ = content.missed_call_id(event.call)
    await _change(ctx, event.skill, lambda box: content.added(box, id_, "missed_call", event.caller, event.at, 0, room))


@voicemail.rpc("list", timeout=1)
async def list_messages(request: ListMessages, ctx: Context) -> Page:
    """Return a page of a mailbox, newest first; an unknown mailbox is empty."""
    box, _ = await _read(ctx, request.mailbox)
    return content.page(box, request.limit, request.before)


@voicemail.rpc("fetch", timeout=5)
async def fetch(request: Fetch, ctx: Context) -> Chunk:
    """Return the requested bytes of a recording, as many as fit into a reply."""
    found = await ctx.objects.get(MESSAGE, request.message, as_=Message)
    if found is None:
        raise Reject(f"there is no recording {request.message}", remedy="`list` shows what a mailbox has")
    message = found.value
    if request.start >= message.size:
        raise Reject(f"byte {request.start} is past the end: the recording has {message.size}")
    # Base64 encodes three bytes as four.
    fits = min(ctx.config(VoicemailConfig).range_bytes, (ctx.bus.nc.max_payload - _ENVELOPE) // 4 * 3)
    length = min(request.length or fits, fits, message.size - request.start)
    data = await recordings.read(ctx, message, request.start, length)
    return Chunk(
        message=request.message,
        start=request.start,
        length=len(data),
        total=message.size,
        data=base64.b64encode(data).decode(),
    )


@voicemail.rpc("mark-heard", timeout=2)
async def mark_heard(request: MarkHeard, ctx: Context) -> Page:
    """Mark a message as heard or unheard, and return the first page of its mailbox."""
    box = await _change(ctx, request.mailbox, lambda box: content.marked(box, request.message, heard=request.heard))
    return content.page(box, 20, None)


@voicemail.rpc("delete", timeout=5)
async def delete(request: MessageRef, ctx: Context) -> Page:
    """Delete a message with its recording, and return the first page of its mailbox. Repeating it changes nothing."""
    found = await ctx.objects.get(MESSAGE, request.message, as_=Message)
    if found is not None and found.value.mailbox != request.mailbox:
        raise Reject(f"mailbox {request.mailbox} has no message {request.message}")
    box = await _change(ctx, request.mailbox, lambda box: content.without(box, request.message))
    if found is not None:
        await recordings.delete(ctx, request.message, found.value.size, found.value.segment_bytes)
        await ctx.objects.delete(MESSAGE, request.message)
    return content.page(box, 20, None)


async def _wav(request: Deposit, ctx: Context) -> bytes:
    if request.data is not None:
        return request.data
    assert request.blob is not None
    try:
        return await ctx.blobs.get(request.blob)
    except NotFound as error:
        raise Reject(f"there is no blob {request.blob}", remedy="store it before the deposit") from error


async def _read(ctx: Context, mailbox: str) -> tuple[Mailbox, int]:
    found = await ctx.objects.get(MAILBOX, mailbox, as_=Mailbox)
    return (Mailbox(mailbox=mailbox), 0) if found is None else (found.value, found.revision)


async def _change(ctx: Context, mailbox: str, change: Callable[[Mailbox], Mailbox]) -> Mailbox:
    """Change a mailbox by compare-and-set, without a write if nothing changes.

    Raises:
        Conflict: if other writers were faster in all attempts.
    """
    for attempt in range(1, _TRIES + 1):
        box, revision = await _read(ctx, mailbox)
        changed = change(box)
        if changed == box:
            return box
        try:
            await ctx.objects.put(MAILBOX, mailbox, changed, expect=revision)
        except Conflict:
            if attempt == _TRIES:
                raise
            await asyncio.sleep(0.002 * attempt)
        else:
            return changed
    raise AssertionError  # the last try returns or raises
