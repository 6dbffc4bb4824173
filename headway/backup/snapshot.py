"""A stream with its consumers and their positions as one file: saved from a server, and restored to one.

It is JetStream's own snapshot (`$JS.API.STREAM.SNAPSHOT` and `RESTORE`), as `nats stream backup` writes it too.
Chunks are acknowledged one by one as they are written, so a slow disk slows the server down and no chunk is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from headway.backup.errors import SnapshotFailed
from headway.bus.errors import CallError, ConnectionFailed, NotServed
from headway.bus.nats import jsapi
from headway.bus.nats.internals import server_info
from headway.bus.nats.refusals import translating

CHUNK: Final = 128 * 1024
"""Bytes of a chunk: well below the largest message that servers take by default."""
_WINDOW: Final = 4 << 20
"""Bytes that the server sends ahead of their acknowledgement."""
_SILENCE: Final = 8.0
"""Seconds without a chunk or an answer after which a snapshot is abandoned; the server itself abandons a receiver
after 5.
"""
_POLL: Final = 0.02
_BUILD: Final = 600.0
"""Seconds that the server may take to check and build what it received."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stream and server of a snapshot.

    Attributes:
        config: the stream's configuration, as the server reported it.
        state: its state at that moment.
    """

    config: dict[str, Any]
    state: dict[str, Any]


async def save(nc: Client, stream: str, write: Callable[[bytes], object]) -> Snapshot:
    """Take a snapshot of a stream, with its consumers.

    Args:
        nc: a connection with an operator's rights.
        stream: its name.
        write: receives the chunks, in order.

    Raises:
        SnapshotFailed: if it is not complete.
        MissingStream, StoreError, ConnectionFailed: if the server refuses or does not answer.
    """
    chunks: asyncio.Queue[Msg] = asyncio.Queue()

    async def take(message: Msg) -> None:
        chunks.put_nowait(message)

    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=take)
    try:
        with translating(f"stream {stream}"):
            await nc.flush(timeout=int(jsapi.TIMEOUT))
            ask = {"deliver_subject": inbox, "chunk_size": CHUNK, "window_size": _WINDOW}
            told = await jsapi.request(nc, f"STREAM.SNAPSHOT.{stream}", ask, timeout=_SILENCE)
            expected = 1
            while True:
                chunk = await asyncio.wait_for(chunks.get(), _SILENCE)
                if not chunk.data:
                    break
                if chunk.reply:
                    number = int(chunk.reply.rpartition(".")[2])
                    if number != expected:
                        raise SnapshotFailed(f"stream {stream}: chunk {expected} was lost")
                    expected += 1
                write(chunk.data)
                if chunk.reply:
                    await nc.publish(chunk.reply, b"")
    except TimeoutError as error:
        raise SnapshotFailed(f"stream {stream}: nothing came for {_SILENCE:g} s") from error
    finally:
        # The connection may be gone, and the subscription with it.
        with contextlib.suppress(ConnectionFailed), translating(inbox):
            await subscription.unsubscribe()
    status = (chunk.headers or {}).get("Status", "204")
    if status != "204":
        raise SnapshotFailed(f"stream {stream}: {status} {(chunk.headers or {}).get('Description', '')}")
    return Snapshot(told["config"], told["state"])


async def load(
    nc: Client, snapshot: Snapshot, chunks: Iterable[bytes], *, replicas: int | None = None
) -> dict[str, Any]:
    """Restore a stream from its snapshot.

    Args:
        nc: a connection with an operator's rights.
        snapshot: its stream and server.
        chunks: its data, in order, none larger than `CHUNK`.
        replicas: copies that it gets; None keeps their number, or uses one on a single server.

    Returns:
        the server's report on the stream.

    Raises:
        SnapshotFailed: if the server cannot restore the stream.
        StoreError, ConnectionFailed: if the server refuses, as when the stream exists, or does not answer.
    """
    # A single server reports that it has no cluster only once it has all the data. Its greeting tells it earlier.
    alone = not server_info(nc).get("cluster")
    config = {**snapshot.config, "num_replicas": replicas or (1 if alone else snapshot.config["num_replicas"])}
    name = config["name"]
    subject = await _accepted(nc, config, snapshot.state)
    try:
        for number, chunk in enumerate(chunks):
            with translating(subject):
                sending = _first(nc, subject, chunk) if number == 0 else nc.request(subject, chunk, timeout=_SILENCE)
                answer = await sending
            if answer.data:
                raise SnapshotFailed(f"stream {name}: {_refusal(answer.data)}")
        with translating(subject):
            answer = await nc.request(subject, b"", timeout=_BUILD)
    except (CallError, ConnectionFailed, TimeoutError) as error:
        raise SnapshotFailed(f"stream {name}: {error!r} while it was being restored") from error
    told: dict[str, Any] = orjson.loads(answer.data)
    if "error" in told:
        raise SnapshotFailed(f"stream {name}: {_refusal(answer.data)}")
    return told


async def _accepted(nc: Client, config: dict[str, Any], state: dict[str, Any]) -> str:
    """Return where to send the chunks."""
    what = f"STREAM.RESTORE.{config['name']}"
    return str((await jsapi.request(nc, what, {"config": config, "state": state}, timeout=_SILENCE))["deliver_subject"])


async def _first(nc: Client, subject: str, chunk: bytes) -> Msg:
    """Send the first chunk. The server may not know yet that another server waits for it."""
    async with asyncio.timeout(_SILENCE):
        while True:
            try:
                with translating(subject):
                    return await nc.request(subject, chunk, timeout=_SILENCE)
            except NotServed:
                await asyncio.sleep(_POLL)


def _refusal(answer: bytes) -> str:
    try:
        return str(orjson.loads(answer)["error"]["description"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return answer.decode(errors="replace")
