"""The job stream and the consumers of one version of a service."""

from __future__ import annotations

import asyncio

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from headway.bus.handlers import Kind
from headway.bus.nats import streams
from headway.bus.service import Service
from headway.bus.wire.subjects import LANES


async def declare(js: JetStreamContext, service: Service, version: str, *, only: str | None = None) -> None:
    """Create the stream and the consumers that a version's handlers need.

    Workers do this when they start; so does a controller that starts a version without workers.

    Args:
        js: the context.
        service: the service.
        version: the version's label.
        only: name of the only consumer to create; None creates all of them.

    Raises:
        StoreError: if a stream or consumer is missing or cannot be created.
        ConnectionFailed: without an answer from JetStream.
    """
    wanted: list[tuple[str, ConsumerConfig]] = []
    if service.handlers_of(Kind.JOB):
        await streams.ensure(js, streams.jobs(service.name, service.queue_bytes, service.queue_per_subject))
        stream = streams.jobs_stream(service.name)
        wanted += [(stream, streams.lane(service.name, version, n, service.ack_wait)) for n in range(LANES)]
    for event in service.handlers_of(Kind.EVENT):
        wanted.append((streams.EVENTS, streams.event(service.name, event, service.ack_wait)))
    await asyncio.gather(
        *(streams.ensure_consumer(js, stream, one) for stream, one in wanted if only in {None, one.durable_name})
    )
