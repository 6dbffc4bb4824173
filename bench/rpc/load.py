"""The load: one raw nats-py client for all contenders, cheap enough that the contenders are the bottleneck.

python -m bench.rpc.load <url>      # then {"operation", "seconds", "inflight", "deadline"} on stdin
"""

from __future__ import annotations

import asyncio
import sys
import time

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.message import SERVICE, order, tenant
from bench.numbers import OURS, quantile
from bench.process import orders, run, say
from bench.rpc.servers import OPERATIONS
from headway.bus import Bus, connect
from headway.bus.wire.headers import SERVICE_ERROR, STATUS, TIMEOUT, timeout_value

_TIMEOUT = 5.0


async def closed_loop(nc: Client, operation: str, seconds: float, inflight: int, *, deadline: bool) -> dict[str, float]:
    """Keep `inflight` requests in flight: each reply triggers the next one.

    Raises:
        RuntimeError: if a reply is an error, or none arrives.
    """
    inbox = nc.new_inbox()
    began: list[float] = [0.0] * inflight
    samples: list[float] = []
    payloads = [order(number) for number in range(inflight)]
    ended = asyncio.get_running_loop().create_future()
    running = inflight
    stop_at = time.perf_counter() + seconds
    headers = {TIMEOUT: ""} if deadline else None

    async def send(slot: int) -> None:
        began[slot] = time.perf_counter()
        if headers is not None and len(samples) % inflight == 0:
            headers[TIMEOUT] = timeout_value(_TIMEOUT)
        subject = f"rpc.{SERVICE}.{tenant(slot)}.{operation}"
        await nc.publish(subject, payloads[slot], reply=f"{inbox}.{slot}", headers=headers)

    async def on_reply(message: Msg) -> None:
        nonlocal running
        if message.headers and (SERVICE_ERROR in message.headers or STATUS in message.headers):
            if not ended.done():
                ended.set_exception(RuntimeError(f"{operation} answered {message.headers}"))
            return
        now = time.perf_counter()
        slot = int(message.subject.rsplit(".", 1)[1])
        samples.append(now - began[slot])
        if now < stop_at:
            await send(slot)
            return
        running -= 1
        if not running and not ended.done():
            ended.set_result(None)

    subscription = await nc.subscribe(f"{inbox}.*", cb=on_reply)
    start = time.perf_counter()
    for slot in range(inflight):
        await send(slot)
    try:
        await asyncio.wait_for(ended, seconds + _TIMEOUT)
    except TimeoutError as error:
        raise RuntimeError(f"{operation}: {running} requests were never answered") from error
    took = time.perf_counter() - start
    await subscription.unsubscribe()
    return {"count": len(samples), "seconds": took, "p50_s": quantile(samples, 0.5), "p99_s": quantile(samples, 0.99)}


async def bus_calls(bus: Bus, seconds: float, inflight: int) -> dict[str, float]:
    """Do the same with `bus.call`: what a caller gets end to end with our client."""
    samples: list[float] = []
    stop_at = time.perf_counter() + seconds

    async def caller(slot: int) -> None:
        request = {"number": slot, "customer": "acme-4711", "pages": 3, "priority": "normal"}
        while (now := time.perf_counter()) < stop_at:
            await bus.call(SERVICE, OPERATIONS[OURS], request, tenant=tenant(slot), timeout=_TIMEOUT)
            samples.append(time.perf_counter() - now)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for slot in range(inflight):
            group.create_task(caller(slot))
    took = time.perf_counter() - start
    return {"count": len(samples), "seconds": took, "p50_s": quantile(samples, 0.5), "p99_s": quantile(samples, 0.99)}


async def main(url: str) -> None:
    """Run one load per order of the bench."""
    nc = await nats.connect(url)
    async with await connect(url) as bus:
        async for asked in orders():
            if asked["operation"] is None:
                say(await bus_calls(bus, asked["seconds"], asked["inflight"]))
            else:
                say(
                    await closed_loop(
                        nc, asked["operation"], asked["seconds"], asked["inflight"], deadline=asked["deadline"]
                    )
                )
    await nc.close()


if __name__ == "__main__":
    run(main, *sys.argv[1:])
