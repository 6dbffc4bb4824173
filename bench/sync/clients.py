"""A part of the clients, in its own process.

python -m bench.sync.clients      # then {"do": "connect" | "expect" | "weigh", ...} on stdin
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from bench.process import orders, run, say
from bench.sync.sockets import Clients

BIN = 100_000
"""Nanoseconds per bucket: latencies are reported as a histogram of tenths of a millisecond."""


async def main() -> None:
    """Carry out the bench's orders."""
    clients = Clients()
    async for order in orders():
        say(await asyncio.to_thread(_do, clients, order))
    clients.close()


def _do(clients: Clients, order: dict[str, Any]) -> Any:
    match order.pop("do"):
        case "connect":
            clients.connect(**order)
            return "connected"
        case "expect":
            found = clients.expect(**order)
            bins = Counter(latency // BIN for latency in found.latencies)
            return {"changes": found.changes, "last": found.last, "bins": sorted(bins.items())}
        case "weigh":
            return clients.weigh(**order)
        case "now":
            return time.perf_counter_ns()
    raise ValueError(order)


if __name__ == "__main__":
    run(main)
