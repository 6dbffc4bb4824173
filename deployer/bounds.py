"""Bounds of large queues, set when they are needed.

A server sets the bound of a stream aside when the stream is made: thirty services of 1 GiB each would fill a disk that
is empty. So a large queue has none until it is half full. In between, the server's own bound holds for all together.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats import jsapi
from headway.bus.nats.streams import BOUND

SET: Final = 0.5
"""Share of its bound from which on a queue has it."""
UNSET: Final = 0.25
"""Share of its bound below which a queue has it no longer."""
NONE: Final = -1
"""What nats-server calls a stream without a bound."""

_log = logging.getLogger("headway.deployer")


def bound(used: int, limit: int, current: int) -> int:
    """Return the bound that a queue should have now: `limit`, or `NONE`.

    Args:
        used: bytes in it.
        limit: bytes that it may have.
        current: the bound it has now.
    """
    share = UNSET if current > 0 else SET
    return max(limit, used) if used >= share * limit else NONE  # less than it holds would cost messages


async def apply(bus: Bus) -> dict[str, int]:
    """Set and lift bounds as queues fill and drain; returns those that were changed.

    Args:
        bus: a connection in the control or operator role.

    Raises:
        StoreError, ConnectionFailed: if the streams cannot be listed.
    """
    streams, _ = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    changed = {}
    for stream in streams:
        config, limit = stream["config"], limit_of(stream["config"])
        if limit is None:
            continue
        current = int(config["max_bytes"])
        wanted = bound(int(stream["state"]["bytes"]), limit, current)
        if wanted == current:
            continue
        try:
            await jsapi.request(bus.nc, f"STREAM.UPDATE.{config['name']}", {**config, "max_bytes": wanted})
        except HeadwayError as error:
            what = "stays unbounded" if wanted > 0 else "keeps its bound"
            _log.warning("stream %s %s at %d bytes: %s", config["name"], what, stream["state"]["bytes"], error.message)
            continue
        changed[config["name"]] = wanted
    return changed


def allowed(config: dict[str, Any]) -> int:
    """Return the bytes that a stream may hold, whether its bound is set by now or not; 0 if it has none."""
    return max(0, int(config["max_bytes"]), limit_of(config) or 0)


def limit_of(config: dict[str, Any]) -> int | None:
    """Return the bytes that a stream may have, if its bound is set only when it is needed."""
    try:
        return int((config.get("metadata") or {})[BOUND])
    except (KeyError, ValueError):
        return None
