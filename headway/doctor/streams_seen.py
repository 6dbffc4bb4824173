"""Streams and consumers, as their leaders report them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any, Final

from nats.aio.client import Client

from headway.bus.nats import jsapi
from headway.bus.nats.streams import EVENTS, JOBS, parse_lane_consumer
from headway.bus.wire.subjects import job_version
from headway.deployer import bounds
from headway.doctor.facts import Consumer, StreamFacts
from headway.doctor.servers_seen import peer

_AT_ONCE: Final = 16
"""Concurrent requests."""


async def look(nc: Client) -> tuple[tuple[StreamFacts, ...], tuple[str, ...]]:
    """Return all streams of an account with their consumers, and the names of those that do not answer.

    Raises:
        StoreError, ConnectionFailed: as `headway.bus.nats.jsapi.request`.
    """
    infos, silent = await jsapi.listed(nc, "STREAM.LIST", "streams")
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(info: dict[str, Any]) -> StreamFacts:
        async with slots:
            return await _stream(nc, info)

    return tuple(await asyncio.gather(*map(one, infos))), tuple(silent)


async def _stream(nc: Client, info: dict[str, Any]) -> StreamFacts:
    config, state, group = info["config"], info["state"], info.get("cluster") or {}
    name = config["name"]
    consumers: tuple[Consumer, ...] = ()
    silent: list[str] = []
    if name.startswith(JOBS) or name == EVENTS:
        found, silent = await jsapi.listed(nc, f"CONSUMER.LIST.{name}", "consumers")
        consumers = tuple(_consumer(one, info["ts"]) for one in found)
    uncovered: Counter[str] = Counter()
    # The backlog of a consumer without a leader is unknown, so it does not count as stranded.
    if name.startswith(JOBS) and not silent and state["messages"] > sum(one.left for one in consumers):
        uncovered = await _uncovered(nc, name, consumers)
    return StreamFacts(
        name=name,
        replicas=int(config["num_replicas"]),
        clustered=bool(group.get("name")),
        leader=group.get("leader", ""),
        peers=tuple(map(peer, group.get("replicas") or ())),
        messages=int(state["messages"]),
        size=int(state["bytes"]),
        bound=bounds.allowed(config) or bounds.NONE,
        refuses=config["discard"] == "new",
        consumers=consumers,
        uncovered=uncovered,
    )


def _consumer(info: dict[str, Any], now: str) -> Consumer:
    config, group = info["config"], info.get("cluster") or {}
    moved = [info[part]["last_active"] for part in ("delivered", "ack_floor") if info[part].get("last_active")]
    here = _seconds(info.get("ts") or now)
    return Consumer(
        name=info["name"],
        pending=int(info["num_pending"]),
        ack_pending=int(info["num_ack_pending"]),
        ack_wait=config.get("ack_wait", 0) / 1e9,
        idle=here - max(map(_seconds, moved)) if moved else None,
        pulls=int(info["num_waiting"]),
        limit=max(0, int(config.get("max_ack_pending") or 0)),
        paused=bool(info.get("paused")),
        led=not group.get("name") or bool(group.get("leader")),
    )


async def _uncovered(nc: Client, name: str, consumers: tuple[Consumer, ...]) -> Counter[str]:
    """Count the messages that have no consumer, by version."""
    known = {lane.version for one in consumers if (lane := parse_lane_consumer(one.name)) is not None}
    found: Counter[str] = Counter()
    offset = 0
    while True:
        info = await jsapi.request(nc, f"STREAM.INFO.{name}", {"subjects_filter": ">", "offset": offset})
        subjects = info["state"].get("subjects") or {}
        for subject, count in subjects.items():
            if (version := job_version(subject)) is not None:
                found[version] += count
        offset += len(subjects)
        if not subjects or offset >= info.get("total", 0):
            return Counter({version: count for version, count in found.items() if version not in known})


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
