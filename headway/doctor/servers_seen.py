"""The servers as seen by the system account: each answers for itself."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime
from typing import Any, Final

import orjson

from headway.broker.broker import Broker
from headway.doctor.facts import Peer, ServerFacts

_PING: Final = "$SYS.REQ.SERVER.PING.VARZ"
_TIMEOUT: Final = 2.0
"""Seconds that all servers have to answer."""
_QUIET: Final = 0.3
"""Seconds without another answer after which no more are expected."""


async def look(broker: Broker) -> tuple[ServerFacts, ...]:
    """Return all servers that answer, by name.

    Raises:
        ConnectionFailed: if the system account cannot connect.
    """
    nc = (await broker.system()).nc
    arrived: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()

    async def take(message: Any) -> None:
        arrived.put_nowait((message.data, time.time()))

    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=take)
    asked = time.time()
    found: list[ServerFacts] = []
    try:
        await nc.publish(_PING, b"", reply=inbox)
        wait = _TIMEOUT
        while True:
            data, heard = await asyncio.wait_for(arrived.get(), wait)
            found.append(_server(orjson.loads(data), asked, heard))
            wait = _QUIET
    except TimeoutError:
        return tuple(sorted(found, key=lambda server: server.name))
    finally:
        await subscription.unsubscribe()


def _server(answer: dict[str, Any], asked: float, heard: float) -> ServerFacts:
    about, data = answer["server"], answer.get("data") or {}
    jetstream = data.get("jetstream") or {}
    config, stats, meta = (jetstream.get(part) or {} for part in ("config", "stats", "meta"))
    return ServerFacts(
        name=about["name"],
        version=tuple(int(part) for part in re.findall(r"\d+", about["ver"])[:3]),
        skew=_skew(about["time"], asked, heard),
        jetstream=bool(about.get("jetstream")),
        strict=bool(config.get("sync_always")),
        stored=int(stats.get("storage", 0)),
        room=int(config.get("max_storage", 0)),
        cluster_size=int(meta.get("cluster_size", 0)),
        leader=meta.get("leader", ""),
        peers=tuple(map(peer, meta.get("replicas") or ())),
    )


def peer(info: dict[str, Any]) -> Peer:
    """Return another server, as reported by a leader."""
    return Peer(
        name=info.get("name", "?"),
        current=bool(info.get("current")),
        offline=bool(info.get("offline")),
        lag=int(info.get("lag", 0)),
    )


def _skew(at: str, asked: float, heard: float) -> float:
    """Return how far a server's time lies outside the interval between request and reply."""
    told = datetime.fromisoformat(at).timestamp()
    return told - min(max(told, asked), heard)
