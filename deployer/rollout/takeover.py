"""Moving jobs from the queue of one version into that of another: nothing lost, nothing there twice.

A message is taken from its lane's own consumer, so nobody else has it in hand. It is stored under the other version's
subject, under an id made of where it came from, and acknowledged only then. Whoever dies in between leaves it to be
delivered again after the ack wait: the server then knows the id and stores no second one.
docs/decisions/0011-taking-over-queued-work.md tells why it is done this way.
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
from headway.bus.errors import ConnectionFailed, HeadwayError, InvalidInput, MissingStream
from headway.bus.nats import streams
from headway.bus.nats.delivery import ACK, Delivery, nak, read
from headway.bus.nats.refusals import asking, translating
from headway.bus.nats.streams import jobs_stream, lane_consumer
from headway.bus.wire import headers, subjects

BATCH: Final = 128
"""Messages of one lane under way at a time."""
_EXPIRES: Final = 0.5
"""Seconds a pull stands: what workers hand back meanwhile comes at once."""
_ACK_TIMEOUT: Final = 2.0
_STORE_TIMEOUT: Final = 5.0
_LATER: Final = 1.0
"""Seconds until a message that could not be stored is tried again."""

_log = logging.getLogger("headway.deployer")


def moved(message_headers: Mapping[str, str] | None, stream: str, sequence: int) -> dict[str, str]:
    """The headers of a job that is moved: those it had, under another message id, and the id it is known by."""
    # Headers that arrived, but that no client can send, are left behind: the job matters more.
    kept, _ = headers.sendable({k: v for k, v in (message_headers or {}).items() if not k.startswith("Nats-Expected-")})
    known = kept.get(headers.ID) or kept.get(headers.MESSAGE_ID) or f"{stream}.{sequence}"
    return {**kept, headers.MESSAGE_ID: f"takeover.{stream}.{sequence}", headers.ID: known}


def target_subject(subject: str, version: str) -> str:
    """Where a job goes: the same lane, tenant and operation of another version.

    Raises:
        InvalidSubject: if it is no job's subject.
    """
    return subjects.job_moved(subject, version)


class Takeover:
    """Moves the jobs of one version to another.

    Args:
        bus: a connection in the control or operator role.
        service: whose jobs.
        source, target: from which version to which.
    """

    def __init__(self, bus: Bus, service: str, source: str, target: str) -> None:
        self._bus = bus
        self._stream = jobs_stream(service)
        self._service, self._source, self._target = service, source, target

    async def run(self, lanes: Mapping[int, object], seconds: float) -> int:
        """Move what can be had within some seconds; returns how many were moved.

        Args:
            lanes: those whose consumer exists; the others' is made.
            seconds: to go on for. It returns earlier once nothing comes any more.

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
        """Make a lane's consumer anew that somebody deleted: without one its messages would be stranded."""
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
        """What a pull brings, until the server says that it is over."""
        found: list[tuple[Msg, Delivery]] = []
        until = time.monotonic() + 2 * _EXPIRES
        while len(found) < BATCH:
            try:
                left = until - time.monotonic()
                message = await subscription.next_msg(timeout=max(0.01, left))
            except TimeoutError:
                break
            known = read(message.reply) if message.reply else None
            if known is None:  # a status: nothing there, or the time is up
                break
            found.append((message, known))
        return found

    async def _move(self, message: Msg, known: Delivery) -> bool:
        """Store one message anew and take it off its old queue; False if it could not be stored."""
        sent = moved(message.headers, known.stream, known.sequence)
        try:
            subject = target_subject(message.subject, self._target)
            try:
                await self._bus.store(subject, message.data, sent, _STORE_TIMEOUT)
            except InvalidInput:  # as large as messages may be: then without the header that others do not have
                del sent[headers.ID]
                await self._bus.store(subject, message.data, sent, _STORE_TIMEOUT)
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
