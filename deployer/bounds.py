"""Size limits of large queues, set only when needed.

A server reserves the limit of a stream when the stream is created: thirty services of 1 GiB each would fill an empty
disk. So a large queue has no limit until it is half full; until then the server's own limit applies to all streams
together.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats import jsapi
from headway.bus.nats.streams import BOUND

SET: Final = 0.5
"""Share of its limit above which a queue gets it."""
UNSET: Final = 0.25
"""Share of its limit below which a queue loses it."""
NONE: Final = -1
"""nats-server's value for a stream without a limit."""

_log = logging.getLogger("headway.deployer")


def bound(used: int, limit: int, current: int) -> int:
    """Return the limit that a queue should have now: `limit`, or `NONE`.

    Args:
        used: bytes in it.
        limit: bytes that it may have.
        current: the bound it has now.
    """
    share = UNSET if current > 0 else SET
    return max(limit, used) if used >= share * limit else NONE  # a limit below its size would delete messages


async def apply(bus: Bus) -> dict[str, int]:
    """Set and lift limits as queues fill and drain; return the changed ones.

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
    """Return the bytes that a stream may hold, whether or not the limit is set now; 0 if unlimited."""
    return max(0, int(config["max_bytes"]), limit_of(config) or 0)


def limit_of(config: dict[str, Any]) -> int | None:
    """Return the bytes that a stream may have, if its limit is set only when needed."""
    try:
        return int((config.get("metadata") or {})[BOUND])
    except (KeyError, ValueError):
        return None
