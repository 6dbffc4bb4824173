"""The flooding tenant, in a separate process: publishes all its jobs as fast as it can.

python -m bench.flood <url>      # then {"tenant", "count"} on stdin
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
        subject = f"job.{SERVICE}.{asked['tenant']}.send"
        for number in range(asked["count"]):
            await nc.publish(subject, order(number))
            if number % _FLUSH_EVERY == 0:
                await nc.flush()
        await nc.flush()
        say("sent")
    await nc.close()


if __name__ == "__main__":
    run(main, *sys.argv[1:])
