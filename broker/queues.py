"""Create the queues that workers ask for: control makes streams and consumers, workers have no right to.

A message that JetStream sends somewhere bears no inbox as reply subject. So a request with one was published by a user
with the right to publish on its subject: a worker of that service.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, InvalidInput, MissingStream, Overloaded
from headway.bus.nats import direct, jsapi, streams
from headway.bus.nats.refusals import translating
from headway.bus.tasks import end
from headway.bus.wire import subjects
from headway.bus.wire.replies import error_headers
from headway.bus.worker import queues
from headway.bus.worker.queues import QueueDeclaration

ALL: Final = "queues.*.*"
QUEUE: Final = "headway-queues"
MOST: Final = 1600
"""Most consumers of one service, a hundred versions: a worker may name any version."""
_AT_A_TIME: Final = 16
"""Requests handled at a time; others wait."""
_WAITING: Final = 1000
_LEAVE: Final = 2.0
"""Seconds to answer what was asked before the end."""

_log = logging.getLogger("headway.broker")


@asynccontextmanager
async def served(bus: Bus) -> AsyncIterator[None]:
    """Answer workers that ask for their queues while the context is open. Any number of processes may do so.

    Args:
        bus: a connection in the control or operator role.
    """
    running: set[asyncio.Task[None]] = set()
    slots = asyncio.Semaphore(_AT_A_TIME)

    def take(message: Msg) -> None:
        if not subjects.is_inbox(message.reply) or len(running) >= _WAITING:
            return
        task = asyncio.get_running_loop().create_task(_answer(bus, message, slots))
        running.add(task)
        task.add_done_callback(running.discard)

    subscription = await direct.subscribe(bus.nc, ALL, take, queue=QUEUE)
    try:
        await bus.flush()  # from now on it is asked
        yield
    finally:
        if bus.nc.is_connected:
            # What is on its way is still answered: a worker would wait for it.
            with contextlib.suppress(TimeoutError, HeadwayError), translating("leaving"):
                async with asyncio.timeout(_LEAVE):
                    await direct.leave(bus.nc, subscription)
                    while running:
                        await asyncio.wait(set(running))
        elif not bus.nc.is_closed:
            await subscription.unsubscribe()
        await end(running)


async def _answer(bus: Bus, message: Msg, slots: asyncio.Semaphore) -> None:
    refused: dict[str, str] = {}
    async with slots:
        try:
            await _create(bus, message)
        except HeadwayError as error:
            _log.warning("%s: %s", message.subject, error)
            refused = error_headers(error)
    try:
        with translating(f"the answer to {message.subject}"):
            await bus.nc.publish(message.reply, b"", headers=refused or None)
    except HeadwayError as error:
        _log.warning("%s was not answered: %s", message.subject, error)


async def _create(bus: Bus, message: Msg) -> None:
    """Create what a worker asks for.

    Raises:
        InvalidSubject, InvalidInput: if it cannot be read.
        Overloaded: if the service has too many consumers.
        StoreError, ConnectionFailed: as `headway.bus.worker.queues.create`.
    """
    service, version = subjects.parse_queues(message.subject)
    try:
        needs = QueueDeclaration.model_validate_json(message.data)
    except ValidationError as error:
        raise InvalidInput(f"{message.subject}: {error.errors()[0]['msg']}") from error
    if needs.jobs:
        with contextlib.suppress(MissingStream):
            info = await jsapi.request(bus.nc, f"STREAM.INFO.{streams.jobs_stream(service)}")
            if info["state"].get("consumer_count", 0) >= MOST:
                raise Overloaded(f"service {service} has {MOST} consumers", remedy="retire versions that are not used")
    await queues.create(bus.js, service, version, needs)
