"""The flooding tenants, in a separate process: publishes all their jobs as fast as it can, in turns.

python -m bench.flood <url>      # then {"tenants", "count"} and perhaps "operation" on stdin
"""

from __future__ import annotations

import sys

import nats

from bench.message import SERVICE, order
from bench.process import orders, run, say

_FLUSH_EVERY = 500


async def main(url: str) -> None:
    """Publish one flood per order; reply when everything is sent."""
    nc = await nats.connect(url)
    async for asked in orders():
        operation = asked.get("operation", "send")
        subjects = [f"job.{SERVICE}.{tenant}.{operation}" for tenant in asked["tenants"]]
        for number in range(asked["count"] * len(subjects)):
            await nc.publish(subjects[number % len(subjects)], order(number))
            if number % _FLUSH_EVERY == 0:
                await nc.flush()
        await nc.flush()
        say("sent")
    await nc.close()


if __name__ == "__main__":
    run(main, *sys.argv[1:])
