"""The durability bench: what it costs to store a message safely before acknowledging it.

The same publisher stores jobs on one server and on a cluster of three (all on this machine, on one disk), each with
the usual setting and with `durability: strict`. The bench measures acknowledgements per second
with many publishes in flight, and the latency of a single publish on an idle server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from statistics import median

from bench import goals
from bench.message import SERVICE, VERSION, Order, order, tenant
from bench.numbers import quantile
from bench.report import Report
from headway.broker import testing
from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.nats import streams
from headway.bus.service import Service
from headway.bus.worker import queues


@asynccontextmanager
async def _single(sync_interval: str) -> AsyncIterator[Broker]:
    async with testing.broker(sync_interval=sync_interval) as broker:
        yield broker


@asynccontextmanager
async def _three(sync_interval: str) -> AsyncIterator[Broker]:
    async with testing.cluster(3, replicas=3, sync_interval=sync_interval) as cluster:
        yield cluster.broker


Start = Callable[[], AbstractAsyncContextManager[Broker]]

SETTINGS: dict[str, Start] = {
    "one server, fast": lambda: _single("2m"),
    "one server, strict": lambda: _single("always"),
    "three servers, fast": lambda: _three("2m"),
    "three servers, strict": lambda: _three("always"),
}


async def measure(messages: int, alone: int, inflight: int, rounds: int) -> Report:
    """Run the bench.

    Args:
        messages: jobs stored per turn with `inflight` publishes in flight.
        alone: jobs stored per turn, one after another.
        inflight: publishes in flight.
        rounds: turns of each setting.
    """
    rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
    waits: dict[str, list[float]] = {name: [] for name in SETTINGS}
    async with AsyncExitStack() as stack:
        running = {name: await stack.enter_async_context(_ready(start)) for name, start in SETTINGS.items()}
        for bus in running.values():
            await _store(bus, min(messages, 200), inflight)  # warm up
        for _ in range(rounds):
            for name, bus in running.items():
                began = time.perf_counter()
                await _store(bus, messages, inflight)
                rates[name].append(messages / (time.perf_counter() - began))
                waits[name] += await _one_by_one(bus, alone)
                await bus.js.purge_stream(streams.jobs_stream(SERVICE))
    usual = rates[next(iter(SETTINGS))]
    share = {
        name: median(mine / theirs for mine, theirs in zip(found, usual, strict=True)) for name, found in rates.items()
    }
    return Report(
        bench="durability",
        title=f"jobs stored, {messages} with {inflight} in flight and {alone} one by one, {rounds} rounds",
        unit="acks/s",
        values={name: median(found) for name, found in rates.items()},
        rounds=rates,
        ratios={},
        details={
            name: {
                "share_of_usual": share[name],
                "p50_ms": quantile(found, 0.5) * 1e3,
                "p99_ms": quantile(found, 0.99) * 1e3,
            }
            for name, found in waits.items()
        },
        verdicts=goals.judge((), {}),
        below="\n".join(
            f"{name}: {share[name]:.0%} of the usual rate; "
            f"one by one p50 {quantile(found, 0.5) * 1e3:.2f} ms, p99 {quantile(found, 0.99) * 1e3:.2f} ms"
            for name, found in waits.items()
        ),
    )


@asynccontextmanager
async def _ready(start: Start) -> AsyncIterator[Bus]:
    service = Service(SERVICE)

    @service.job("send")
    async def send(_request: Order) -> None:
        """Declare the queue, without a consumer."""

    async with start() as broker, await broker.connect("operator") as bus:
        await broker.set_routes({SERVICE: {VERSION: 100}})
        await queues.declare(bus.js, service, VERSION)
        yield bus


async def _store(bus: Bus, count: int, inflight: int) -> None:
    left = iter(range(count))

    async def publish() -> None:
        for number in left:
            await _submit(bus, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(inflight):
            group.create_task(publish())


async def _one_by_one(bus: Bus, count: int) -> list[float]:
    took = []
    for number in range(count):
        began = time.perf_counter()
        await _submit(bus, number)
        took.append(time.perf_counter() - began)
    return took


async def _submit(bus: Bus, number: int) -> None:
    await bus.submit(SERVICE, "send", Order.model_validate_json(order(number)), tenant=tenant(number), timeout=30)
