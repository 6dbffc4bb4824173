"""Moves jobs from the queue of one version to that of another, without loss or duplicates.

A message is taken from its lane's own consumer, so no worker is processing it. It is stored under the other version's
subject, with an id made from its origin, and acknowledged only then. If the deployer dies in between, it is delivered
again after the ack wait: the server then knows the id and stores no second copy. See
docs/decisions/0011-taking-over-queued-work.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.client.bus import Bus
from headway.bus.client.ids import MessageIds
from headway.bus.errors import ConnectionFailed, HeadwayError, InvalidInput, MissingStream
from headway.bus.nats import streams
from headway.bus.nats.delivery import ACK, Delivery, nak, read
from headway.bus.nats.refusals import asking, translating
from headway.bus.nats.streams import jobs_stream, lane_consumer
from headway.bus.wire import headers, subjects

BATCH: Final = 128
"""Messages of one lane in flight at a time."""
_EXPIRES: Final = 0.5
"""Seconds that a pull stays open: jobs handed back meanwhile arrive at once."""
_ACK_TIMEOUT: Final = 2.0
_STORE_TIMEOUT: Final = 5.0
_LATER: Final = 1.0
"""Seconds until a message that could not be stored is tried again."""

_log = logging.getLogger("headway.deployer")


def moved(
    message_headers: Mapping[str, str] | None, stream: str, sequence: int, tenant: str, ids: MessageIds
) -> dict[str, str]:
    """Return the headers of a moved job: a message id that nobody can guess, and its former id.

    Args:
        message_headers: as it was received.
        stream: where it is stored.
        sequence: its sequence there.
        tenant: its tenant.
        ids: makes its new message id.
    """
    stored = f"{stream}.{sequence}"
    return ids.moved(message_headers, tenant, stored, ids.own(f"takeover.{stored}"))


def target_subject(subject: str, version: str) -> str:
    """Return the new subject of a job: the same lane, tenant and operation of another version.

    Raises:
        InvalidSubject: if it is not a job's subject.
    """
    return subjects.job_moved(subject, version)


def tenant_of(subject: str) -> str:
    """Return the tenant of a queued job, without checking it; empty for other subjects."""
    parts = subject.split(".")
    return parts[4] if len(parts) > 4 else ""


async def store_moved(bus: Bus, subject: str, data: bytes, sent: dict[str, str]) -> None:
    """Store a moved job under its new subject. Raises as `Bus.store`."""
    try:
        await bus.store(subject, data, sent, _STORE_TIMEOUT)
    except InvalidInput:  # at the size limit: store it without the additional header
        del sent[headers.ID], sent[headers.PROOF]
        await bus.store(subject, data, sent, _STORE_TIMEOUT)


class Takeover:
    """Moves the jobs of one version to another.

    Args:
        bus: a connection in the control or operator role.
        service: name of the service.
        source, target: the versions to move jobs from and to.
    """

    def __init__(self, bus: Bus, service: str, source: str, target: str) -> None:
        self._bus = bus
        self._stream = jobs_stream(service)
        self._service, self._source, self._target = service, source, target

    async def run(self, lanes: Mapping[int, object], seconds: float) -> int:
        """Move jobs for some seconds; return how many were moved.

        Args:
            lanes: lanes whose consumer exists; missing consumers are created.
            seconds: time limit in seconds. It returns earlier once no more jobs arrive.

        Raises:
            ConnectionFailed: without an answer from JetStream.
        """
        for lane in range(subjects.LANES):
            if lane not in lanes:
                await self._restore(lane)
        until = time.monotonic() + seconds
        counts = await asyncio.gather(*(self._lane(lane, until) for lane in range(subjects.LANES)))
        return sum(counts)

    async def _restore(self, lane: int) -> None:
        """Recreate a deleted consumer of a lane: without it the lane's messages would be stranded."""
        try:
            async with asking(f"stream {self._stream}", _STORE_TIMEOUT):
                await self._bus.js.stream_info(self._stream)
        except MissingStream:
            return
        wanted = streams.lane(self._service, self._source, lane, ack_wait=30.0)
        await streams.ensure_consumer(self._bus.js, self._stream, wanted)

    async def _lane(self, lane: int, until: float) -> int:
        """Move one lane's messages."""
        nc = self._bus.nc
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{lane_consumer(self._source, lane)}"
        inbox = nc.new_inbox()
        subscription = await nc.subscribe(inbox)
        count = 0
        try:
            while time.monotonic() < until:
                ask = orjson.dumps({"batch": BATCH, "expires": int(_EXPIRES * 1e9)})
                with translating(pull):
                    await nc.publish(pull, ask, reply=inbox)
                    batch = await self._batch(subscription)
                    results = await asyncio.gather(*(self._move(message, known) for message, known in batch))
                count += sum(results)
                if not all(results) or len(batch) < BATCH:
                    break
        except ConnectionFailed as error:
            _log.warning("%s lane %d of %s: %s", self._service, lane, self._source, error)
        finally:
            if not nc.is_closed:
                await subscription.unsubscribe()
        return count

    async def _batch(self, subscription: Subscription) -> list[tuple[Msg, Delivery]]:
        """Yield the messages of a pull, until the server ends it."""
        found: list[tuple[Msg, Delivery]] = []
        until = time.monotonic() + 2 * _EXPIRES
        while len(found) < BATCH:
            try:
                left = until - time.monotonic()
                message = await subscription.next_msg(timeout=max(0.01, left))
            except TimeoutError:
                break
            known = read(message.reply) if message.reply else None
            if known is None:  # a status: no messages, or the time is up
                break
            found.append((message, known))
        return found

    async def _move(self, message: Msg, known: Delivery) -> bool:
        """Store one message under the new version and acknowledge the old one; False if it could not be stored."""
        sent = moved(message.headers, known.stream, known.sequence, tenant_of(message.subject), self._bus.ids)
        try:
            await store_moved(self._bus, target_subject(message.subject, self._target), message.data, sent)
        except HeadwayError as error:
            _log.warning("%s %d stays with %s for now: %s", known.stream, known.sequence, self._source, error)
            await self._bus.nc.publish(message.reply, nak(_LATER))
            return False
        try:
            with translating(message.reply):
                await self._bus.nc.request(message.reply, ACK, timeout=_ACK_TIMEOUT)
        except (HeadwayError, TimeoutError) as error:
            _log.warning("%s %d is moved but not acknowledged: %r", known.stream, known.sequence, error)
        return True
