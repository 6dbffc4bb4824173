"""The job stream and the consumers of one version of a service.

Only control makes them (`create`). A worker asks for those that its handlers need, on a subject of its own service:
who could make a consumer could choose where its messages go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from pydantic import BaseModel, ConfigDict, Field

from headway.bus.client.bus import Bus
from headway.bus.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    DeclarationDrift,
    MissingStream,
    NotServed,
    StoreError,
)
from headway.bus.handlers import Kind
from headway.bus.nats import jsapi, streams
from headway.bus.service import Service
from headway.bus.wire import headers, subjects
from headway.bus.wire.subjects import LANES

MOST_EVENTS: Final = 500
"""Most event types that a service may subscribe to."""
_ASK: Final = 10.0
"""Seconds before control is asked again: the request may be lost together with the process that had it."""
_AGAIN: Final = 0.5
"""Seconds before control is asked again while nobody answers."""
_TELL: Final = 10.0
"""Seconds between two log lines about waiting for control."""

_ERRORS: Final[dict[str, type[StoreError]]] = {kind.code: kind for kind in (DeclarationDrift, MissingStream)}
"""Errors of control that a worker raises as they are."""

_log = logging.getLogger("headway.bus")


class QueueDeclaration(BaseModel):
    """What the handlers of a version need of JetStream.

    Attributes:
        jobs: whether it has jobs.
        queue_bytes: bound of the service's queue in bytes.
        queue_per_subject: bound of messages per version, lane, tenant and operation.
        events: the event types that it handles.
        ack_wait: seconds until a message that is not acknowledged is delivered again.
    """

    model_config = ConfigDict(frozen=True)

    jobs: bool
    queue_bytes: int = Field(ge=1)
    queue_per_subject: int = Field(ge=1)
    events: tuple[str, ...] = Field(max_length=MOST_EVENTS)
    ack_wait: float = Field(gt=0, le=86_400)


def declaration(service: Service) -> QueueDeclaration:
    """Return what a service needs."""
    return QueueDeclaration(
        jobs=bool(service.handlers_of(Kind.JOB)),
        queue_bytes=service.queue_bytes,
        queue_per_subject=service.queue_per_subject,
        events=tuple(service.handlers_of(Kind.EVENT)),
        ack_wait=service.ack_wait,
    )


async def declare(js: JetStreamContext, service: Service, version: str) -> None:
    """Create the stream and the consumers that a version's handlers need. Arguments and errors as for `create`."""
    await create(js, service.name, version, declaration(service))


async def create(js: JetStreamContext, service: str, version: str, needs: QueueDeclaration) -> None:
    """Create the stream and the consumers of a version, or change them to their declarations.

    Args:
        js: the context of a connection in the control or operator role.
        service: the service's name.
        version: the version's label.
        needs: what its handlers need.

    Raises:
        StoreError: if a stream or consumer is missing or cannot be created.
        ConnectionFailed: without an answer from JetStream.
    """
    if needs.jobs:
        await streams.ensure(js, streams.jobs(service, needs.queue_bytes, needs.queue_per_subject))
    wanted = _consumers(service, version, needs)
    await asyncio.gather(*(streams.ensure_consumer(js, stream, one) for stream, one in wanted))


async def ensure(bus: Bus, service: Service, version: str) -> None:
    """Have control create what a version's handlers need, and return when it is there.

    If control does not answer, what exists is enough. If that is not all, this waits for control, and says so.

    Args:
        bus: a worker's connection.
        service: the service.
        version: the version's label.

    Raises:
        StoreError: if control cannot create it.
        ConnectionFailed: if the connection is closed.
    """
    needs = declaration(service)
    if not _consumers(service.name, version, needs):
        return
    clock = asyncio.get_running_loop().time
    told = clock() - _TELL
    while not await asked(bus, service.name, version, needs):
        missing = await _missing(bus, service.name, version, needs)
        if not missing:
            return
        if clock() - told >= _TELL:
            told = clock()
            _log.warning(
                "%s %s waits for its queues: %s is missing, and no control process answers "
                "(start `headway up` or `headway scaler`)",
                *(service.name, version, missing),
            )
        await asyncio.sleep(_AGAIN)


async def asked(bus: Bus, service: str, version: str, needs: QueueDeclaration, timeout: float = _ASK) -> bool:
    """Ask control once.

    Args:
        bus: a worker's connection.
        service: the service's name.
        version: the version's label.
        needs: what its handlers need.
        timeout: seconds to wait for the answer.

    Returns:
        whether control has created it; False if nobody has answered in time.

    Raises:
        StoreError, ConnectionFailed: as `ensure`.
    """
    subject = subjects.queues(service, version)
    try:
        reply = await bus.request(subject, needs.model_dump_json().encode(), timeout, {})
    except (NotServed, DeadlineExceeded):
        return False
    said = reply.headers or {}
    if headers.SERVICE_ERROR not in said or said.get(headers.ERROR) == ConnectionFailed.code:
        return headers.SERVICE_ERROR not in said
    raise _ERRORS.get(said.get(headers.ERROR, ""), StoreError)(said[headers.SERVICE_ERROR])


async def _missing(bus: Bus, service: str, version: str, needs: QueueDeclaration) -> str:
    """Return the name of a consumer that is not known to exist; "" if all do."""
    for stream, one in _consumers(service, version, needs):
        try:
            await jsapi.request(bus.nc, f"CONSUMER.INFO.{stream}.{one.durable_name}")
        except (ConnectionFailed, StoreError):
            return f"{stream}/{one.durable_name}"
    return ""


def _consumers(service: str, version: str, needs: QueueDeclaration) -> list[tuple[str, ConsumerConfig]]:
    wanted: list[tuple[str, ConsumerConfig]] = []
    if needs.jobs:
        stream = streams.jobs_stream(service)
        wanted += [(stream, streams.lane(service, version, number, needs.ack_wait)) for number in range(LANES)]
    return wanted + [(streams.EVENTS, streams.event(service, event, needs.ack_wait)) for event in needs.events]
