"""Recordings in the object store, in segments so that a range can be read without the rest."""

from __future__ import annotations

from collections.abc import Iterator

from headway import Context, NotFound, Reject

from .models import Message


def segments(start: int, length: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of segments that make up a byte range: (segment, from, to).

    Args:
        start: first byte of the range.
        length: bytes of the range.
        size: bytes of a segment.
    """
    end = start + length
    while start < end:
        segment, offset = divmod(start, size)
        taken = min(size - offset, end - start)
        yield segment, offset, offset + taken
        start += taken


async def store(ctx: Context, message: str, data: bytes, segment_bytes: int) -> None:
    """Store a recording, replacing an existing one."""
    for segment in range(_count(len(data), segment_bytes)):
        part = data[segment * segment_bytes : (segment + 1) * segment_bytes]
        await ctx.blobs.put(_name(message, segment), part, content_type="audio/wav")


async def read(ctx: Context, message: Message, start: int, length: int) -> bytes:
    """Read a byte range that lies within a recording.

    Raises:
        Reject: if the recording was deleted meanwhile.
    """
    found = bytearray()
    for segment, begin, end in segments(start, length, message.segment_bytes):
        try:
            found += (await ctx.blobs.get(_name(message.message, segment)))[begin:end]
        except NotFound as error:
            raise Reject(f"the recording of message {message.message} is gone") from error
    return bytes(found)


async def delete(ctx: Context, message: str, size: int, segment_bytes: int) -> None:
    """Delete a recording; missing segments are ignored."""
    for segment in range(_count(size, segment_bytes)):
        await ctx.blobs.delete(_name(message, segment))


def _count(size: int, segment_bytes: int) -> int:
    return -(-size // segment_bytes)


def _name(message: str, segment: int) -> str:
    return f"voicemail/{message}/{segment:05d}"
