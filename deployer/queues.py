"""How much is queued for each version of a service: by consumer info, which the consumers' leaders answer."""

from __future__ import annotations

from typing import Any, Final

import nats.errors
import orjson

from bus.client import Bus
from bus.errors import ConnectionFailed
from bus.streams import jobs_stream
from bus.subjects import LANES

_TIMEOUT: Final = 3.0
_STREAM_NOT_FOUND: Final = 10059


async def consumers(bus: Bus, service: str) -> dict[str, dict[int, dict[str, Any]]]:
    """The lane consumers of a service by version and lane, as the server tells of them.

    Raises:
        ConnectionFailed: if not all of them are known for certain.
    """
    stream = jobs_stream(service)
    found: list[dict[str, Any]] = []
    while True:
        try:
            ask = orjson.dumps({"offset": len(found)})
            reply = await bus.nc.request(f"$JS.API.CONSUMER.LIST.{stream}", ask, timeout=_TIMEOUT)
            answer = orjson.loads(reply.data)
        except (nats.errors.Error, TimeoutError, orjson.JSONDecodeError) as error:
            raise ConnectionFailed(f"consumers of {stream}: no answer from JetStream: {error!r}") from error
        if (refusal := answer.get("error")) is not None:
            if refusal.get("err_code") == _STREAM_NOT_FOUND:
                return {}
            raise ConnectionFailed(f"consumers of {stream}: {refusal.get('description')}")
        page = answer.get("consumers") or []
        found += page
        if answer.get("missing") or any((one.get("cluster") or {"leader": 1}).get("leader") is None for one in page):
            raise ConnectionFailed(f"consumers of {stream}: some have no leader now", remedy="wait for an election")
        if not page or len(found) >= answer.get("total", 0):
            break
    by_version: dict[str, dict[int, dict[str, Any]]] = {}
    for one in found:
        version, _, lane = one["name"].rpartition("-")
        if version and lane.isdigit() and int(lane) < LANES:
            by_version.setdefault(version, {})[int(lane)] = one
    return by_version


def left(lanes: dict[str, dict[int, dict[str, Any]]]) -> dict[str, int]:
    """Jobs that are not acknowledged, by version."""
    return {
        version: sum(one["num_pending"] + one["num_ack_pending"] for one in infos.values())
        for version, infos in lanes.items()
    }
