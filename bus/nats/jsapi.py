"""Requests to the JetStream API in plain JSON, for information that nats-py does not expose."""

from __future__ import annotations

from typing import Any, Final

import orjson
from nats.aio.client import Client

from headway.bus.errors import ConnectionFailed
from headway.bus.nats.refusals import asking, refusal

PREFIX: Final = "$JS.API."
TIMEOUT: Final = 5.0
"""Seconds for one request. In a cluster a list waits four for silent servers (nats-server: jetstream_cluster.go)."""


async def request(nc: Client, what: str, body: Any = None, *, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Send one request, such as `STREAM.INFO.EVENTS`, and return its answer.

    Raises:
        MissingStream: if the stream does not exist.
        StoreError: if the server refuses.
        ConnectionFailed: without an answer in time.
    """
    async with asking(what, timeout):
        payload = b"" if body is None else orjson.dumps(body)
        message = await nc.request(PREFIX + what, payload, timeout=timeout)
    try:
        found: dict[str, Any] = orjson.loads(message.data)
    except orjson.JSONDecodeError as error:
        raise ConnectionFailed(f"{what}: the answer is not from JetStream") from error
    if refused := found.get("error"):
        raise refusal(what, refused)
    return found


async def listed(nc: Client, what: str, kind: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return all entries of a list, such as `streams` of `STREAM.LIST`, and the names of those that did not answer.

    Raises:
        StoreError, ConnectionFailed: as `request`.
    """
    found: list[dict[str, Any]] = []
    missing: set[str] = set()
    while True:
        reply = await request(nc, what, {"offset": len(found) + len(missing)})
        page = reply.get(kind) or []
        lost = set(reply.get("missing") or []) - missing
        found += page
        missing |= lost
        if not (page or lost) or len(found) + len(missing) >= reply.get("total", 0):
            return found, sorted(missing)
