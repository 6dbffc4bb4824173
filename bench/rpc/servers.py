"""The contenders: each serves one operation in its own process, side by side; they are called in turn.

python -m bench.rpc.servers <name> <url>      # then anything on stdin: the CPU seconds used so far
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import nats
import nats.micro
import orjson
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.micro.request import Request
from nats.micro.service import EndpointConfig

from bench import goals
from bench.message import SERVICE, VERSION, Answer, Order
from bench.numbers import OURS
from bench.process import orders, run, say
from headway.bus import Service, Worker, connect
from headway.bus.worker.runner import settle

Contender = Callable[[str], AbstractAsyncContextManager[None]]

OPERATIONS = {OURS: "ours", goals.RAW_RPC: "raw1", goals.MICRO_RPC: "micr", goals.FASTSTREAM_RPC: "fast"}
"""Each contender's own operation. All names have the same length, so that the messages have the same size."""


def _subject(name: str) -> str:
    return f"rpc.{SERVICE}.{VERSION}.*.{OPERATIONS[name]}"


@asynccontextmanager
async def headway(url: str) -> AsyncIterator[None]:
    """Run the real worker: typed request and reply, deadline, in-flight limit, statistics, heartbeats."""
    service = Service(SERVICE)

    @service.rpc(OPERATIONS[OURS], timeout=5)
    async def answer(order: Order) -> Answer:
        return Answer(number=order.number, accepted=True)

    async with await connect(url) as bus, Worker(service, bus, version=VERSION):
        settle()  # as in `headway worker`; the peers' usual deployments do not tune the garbage collector
        yield


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[None]:
    """Serve with nats-py's subscribe and publish: JSON, no validation, no deadline."""
    nc = await nats.connect(url)

    async def answer(message: Msg) -> None:
        order = orjson.loads(message.data)
        # Not message.respond(): it sends the request's headers back, which makes it about 10% slower.
        await nc.publish(message.reply, orjson.dumps({"number": order["number"], "accepted": True}))

    await nc.subscribe(_subject(goals.RAW_RPC), queue="q", cb=answer)
    await nc.flush()
    yield
    await nc.close()


@asynccontextmanager
async def micro(url: str) -> AsyncIterator[None]:
    """Serve with nats-py's own service framework: JSON, no validation, no deadline."""
    nc = await nats.connect(url)

    async def answer(request: Request) -> None:
        order = orjson.loads(request.data)
        await request.respond(orjson.dumps({"number": order["number"], "accepted": True}))

    service = await nats.micro.add_service(nc, name="peer", version="1.0.0")
    await service.add_endpoint(EndpointConfig(name="answer", subject=_subject(goals.MICRO_RPC), handler=answer))
    await nc.flush()
    yield
    await service.stop()
    await nc.close()


@asynccontextmanager
async def faststream(url: str) -> AsyncIterator[None]:
    """Serve with FastStream as documented, typed by pydantic.

    Its log line per message is switched off, which makes it faster.
    """
    broker = NatsBroker(url, logger=None)

    @broker.subscriber(_subject(goals.FASTSTREAM_RPC), queue="q")
    async def answer(order: Order) -> Answer:
        return Answer(number=order.number, accepted=True)

    async with broker:
        await broker.start()
        yield


CONTENDERS: dict[str, Contender] = {
    OURS: headway,
    goals.RAW_RPC: raw,
    goals.MICRO_RPC: micro,
    goals.FASTSTREAM_RPC: faststream,
}


async def main(name: str, url: str) -> None:
    """Serve until the bench closes the pipe."""
    async with CONTENDERS[name](url):
        async for _ in orders():
            say(time.process_time())


if __name__ == "__main__":
    run(main, *sys.argv[1:])
