"""The jobs queued for each version of a service, as reported by the leaders of its consumers."""

from __future__ import annotations

from typing import Any

from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, MissingStream, StoreError
from headway.bus.nats import jsapi
from headway.bus.nats.streams import jobs_stream, parse_lane_consumer


async def consumers(bus: Bus, service: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the lane consumers of a service by version and lane.

    Raises:
        ConnectionFailed: if not all of them are known for certain.
    """
    stream = jobs_stream(service)
    try:
        found, silent = await jsapi.listed(bus.nc, f"CONSUMER.LIST.{stream}", "consumers")
    except MissingStream:
        return {}
    except StoreError as error:
        raise ConnectionFailed(str(error)) from error
    if silent or any((one.get("cluster") or {"leader": 1}).get("leader") is None for one in found):
        raise ConnectionFailed(f"consumers of {stream}: some have no leader now", remedy="wait for an election")
    by_version: dict[str, dict[int, dict[str, Any]]] = {}
    for one in found:
        if (lane := parse_lane_consumer(one["name"])) is not None:
            by_version.setdefault(lane.version, {})[lane.lane] = one
    return by_version


def left(lanes: dict[str, dict[int, dict[str, Any]]]) -> dict[str, int]:
    """Return the unacknowledged jobs by version."""
    return {
        version: sum(one["num_pending"] + one["num_ack_pending"] for one in infos.values())
        for version, infos in lanes.items()
    }
