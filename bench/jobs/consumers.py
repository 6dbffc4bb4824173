"""The contenders: each drains the same work queue in its own process.

python -m bench.jobs.consumers <name> <url>      # then {"count": n} on stdin
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import nats
import nats.errors
import orjson
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from bench import goals
from bench.message import SERVICE, VERSION, Order
from bench.numbers import OURS
from bench.process import orders, run, say
from headway.broker import queues
from headway.bus import Service, Worker, connect
from headway.bus.nats.streams import MAX_ACK_PENDING, jobs_stream
from headway.bus.worker.runner import settle

STREAM = jobs_stream(SERVICE)
_DURABLE = "peer"
_BATCH = 500
_POLL = 0.002
_ALL = f"job.{SERVICE}.>"

Handled = Callable[[], None]
Contender = Callable[[str, Handled], AbstractAsyncContextManager[Callable[[], Awaitable[None]]]]
"""Takes the URL and a callback for each message; yields the function that starts consuming."""


def _consumer() -> ConsumerConfig:
    return ConsumerConfig(
        name=_DURABLE,
        durable_name=_DURABLE,
        filter_subject=_ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        max_ack_pending=MAX_ACK_PENDING,
    )


@asynccontextmanager
async def headway(url: str, handled: Handled) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run the real worker: pydantic validation, retries, +WPI keeper, heartbeats, 16 lanes."""
    service = Service(SERVICE)

    @service.job("send")
    async def send(_order: Order) -> None:
        handled()

    stop = asyncio.Event()
    async with await connect(url) as bus, queues.served(bus), asyncio.TaskGroup() as group:
        worker = Worker(service, bus, version=VERSION)
        settle()  # as in `headway worker`; the peers' usual deployments do not tune the garbage collector

        async def start() -> None:
            group.create_task(worker.run_until(stop))

        try:
            yield start
        finally:
            stop.set()


@asynccontextmanager
async def overlapping(url: str, handled: Handled) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run the fastest loop possible with nats-py.

    It uses one inbox and requests the next batch before the last one is used up.
    """
    nc = await nats.connect(url)
    inbox = nc.new_inbox()
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{_DURABLE}"
    request = orjson.dumps({"batch": _BATCH, "expires": 30_000_000_000})
    outstanding = 0

    async def on_message(message: Msg) -> None:
        nonlocal outstanding
        if not message.reply:
            return
        handled()
        outstanding -= 1
        await nc.publish(message.reply, b"+ACK")
        if outstanding <= _BATCH:
            outstanding += _BATCH
            await nc.publish(subject, request, reply=inbox)

    async def start() -> None:
        nonlocal outstanding
        await nc.jetstream().add_consumer(STREAM, _consumer())
        await nc.subscribe(inbox, cb=on_message, pending_bytes_limit=0)
        outstanding = 2 * _BATCH
        for _ in range(2):
            await nc.publish(subject, request, reply=inbox)

    try:
        yield start
    finally:
        await nc.close()


@asynccontextmanager
async def fetch(url: str, handled: Handled) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run the loop of nats-py's documentation: fetch a batch, ack each message, fetch the next."""
    nc = await nats.connect(url)

    async def loop() -> None:
        subscription = await nc.jetstream().pull_subscribe(_ALL, durable=_DURABLE, stream=STREAM, config=_consumer())
        while True:
            try:
                messages = await subscription.fetch(_BATCH, timeout=1)
            except nats.errors.TimeoutError:
                continue
            for message in messages:
                handled()
                await message.ack()

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        async def start() -> None:
            tasks.append(group.create_task(loop()))

        try:
            yield start
        finally:
            for task in tasks:
                task.cancel()
    await nc.close()


@asynccontextmanager
async def faststream(url: str, handled: Handled) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run FastStream as documented. Its log line per message is switched off, which makes it faster."""
    broker = NatsBroker(url, logger=None)

    @broker.subscriber(
        _ALL,
        durable=_DURABLE,
        stream=JStream(STREAM, declare=False),
        pull_sub=PullSub(batch_size=_BATCH),
        config=_consumer(),
    )
    async def send(_order: Order) -> None:
        handled()

    await broker.connect()
    try:
        yield broker.start
    finally:
        await broker.stop()


CONTENDERS: dict[str, Contender] = {
    OURS: headway,
    goals.RAW_JOBS: overlapping,
    goals.FETCH_JOBS: fetch,
    goals.FASTSTREAM_JOBS: faststream,
}


async def main(name: str, url: str) -> None:
    """Drain the preloaded messages, once per order, and report how long it took."""
    watcher = await nats.connect(url)
    async for order in orders():
        say(await _drain(CONTENDERS[name], url, order["count"], watcher.jetstream()))
    await watcher.close()


async def _drain(contender: Contender, url: str, count: int, js: JetStreamContext) -> dict[str, float]:
    done = asyncio.Event()
    seen = 0

    def handled() -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    async with contender(url, handled) as start:
        began, cpu = time.perf_counter(), time.process_time()
        await start()
        await done.wait()
        await _empty(js)
        return {
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
            "handled": seen,
        }


async def _empty(js: JetStreamContext) -> None:
    """Wait until every message is acknowledged: a work queue keeps the others."""
    while (await js.stream_info(STREAM)).state.messages:  # noqa: ASYNC110
        await asyncio.sleep(_POLL)


if __name__ == "__main__":
    run(main, *sys.argv[1:])
