"""Durable work: jobs and events, from delivery to acknowledgement.

A message is acknowledged after its handler returned, kept alive while it runs, handed back with a back-off when it
failed, and dead-lettered with its cause when it is given up. Nothing is acknowledged before its effect or its dead
letter is stored, so whatever dies in between, the server delivers it again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, NamedTuple

import nats.errors
from nats.aio.msg import Msg

from headway.bus.client import dead
from headway.bus.context import Context, WorkerScope, log_fields
from headway.bus.errors import DeadlineExceeded, HeadwayError, InvalidInput, InvalidSubject, Reject
from headway.bus.handlers import Handler, Invoke, Kind
from headway.bus.nats.delivery import ACK, IN_PROGRESS, NAK, Delivery, nak, term
from headway.bus.nats.streams import EVENTS, event_consumer, jobs_stream, lane_consumer
from headway.bus.service import Service
from headway.bus.wire import headers, subjects
from headway.bus.wire.beat import Counters
from headway.bus.worker.attempts import NONE, Attempts, AttemptsLog, Isolation
from headway.bus.worker.consume import MessagePuller, Source
from headway.bus.worker.timeouts import NEVER, Timed, Timeouts

_DEAD_RETRY = 5.0
"""Seconds after which a message is tried again whose dead letter could not be stored."""
_STORE_TIMEOUT = 5.0
_RELEASE = 1.0
"""Seconds that cancelled handlers have to end."""

_JOB: Final = Kind.JOB
"""Looked up once: on Python 3.11 an enum's members are slow to reach."""

_log = logging.getLogger("headway.bus")


class InHand(Timed):
    """One message being worked on."""

    __slots__ = ("attempt", "began", "delivery", "extended", "kind", "message", "record", "reply", "returned", "source")

    def __init__(self, source: Source, kind: Kind, message: Msg, known: Delivery, now: float) -> None:
        self.due = NEVER  # said here and not by super(): this runs for each message
        self.timed_out = False
        self.source = source
        self.kind = kind
        self.message = message
        self.delivery = known
        self.reply = message.reply
        self.began = now
        self.extended = now
        self.returned = False
        self.record: Attempts | None = None
        """What the log of attempts says of it, if a running attempt is noted there."""
        self.attempt: tuple[Handler, Attempts, Context, str] | None = None
        """The attempt that is made: its handler, what was before it, its context, the operation it is filed under."""


Target = tuple[Handler, Invoke, str, str]
"""Who works on a message: its handler, how to invoke it, the tenant, and the operation it is filed under."""


class Misfit(NamedTuple):
    """Why no handler can take a message, and where its dead letter goes."""

    cause: dead.Cause
    tenant: str
    operation: str
    reason: str


class WorkRunner:
    """Takes and runs the jobs and events of one worker.

    Args:
        scope: what its handlers share.
        service: the service.
        counters: where to count.
        executor: runs `def` handlers.
    """

    def __init__(self, scope: WorkerScope, service: Service, counters: Counters, executor: Executor) -> None:
        self._scope = scope
        self._service = service
        self._counters = counters
        self._job_latency, self._event_latency = counters.latency[Kind.JOB.value], counters.latency[Kind.EVENT.value]
        self._nc = scope.bus.nc
        self._outbox = scope.bus.outbox
        self._telemetry = scope.bus.telemetry
        if self._telemetry is not None:  # a counter that begins at one does not show its first rise
            for cause in dead.Cause:
                self._telemetry.buried(service.name, scope.version, cause.value, 0)
        self._attempts = AttemptsLog(self._nc, service.name)
        self._handlers: dict[str, tuple[Handler, Invoke]] = {
            name: (handler, handler.bind(executor)) for name, handler in service.handlers_of(Kind.JOB).items()
        }
        self._events = [(handler, handler.bind(executor)) for handler in service.handlers_of(Kind.EVENT).values()]
        self._lanes = subjects.LANES if self._handlers else 0
        sources = [(jobs_stream(service.name), lane_consumer(scope.version, lane)) for lane in range(self._lanes)]
        sources += [(EVENTS, event_consumer(service.name, handler.name)) for handler, _ in self._events]
        self.missing: set[int] = set()
        """Sources whose consumer is gone and must be made anew."""
        self.puller = MessagePuller(self._nc, sources, service.concurrency, self._deliver, self._gone)
        self._in_hand: dict[tuple[int, int], InHand] = {}
        self._timeouts = Timeouts(self._in_hand.values())
        self._idle = asyncio.Event()
        self._idle.set()
        self._isolation = Isolation()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; asking for it costs a system call on Python 3.11, too much for each message."""
        return asyncio.get_running_loop()

    @property
    def sources(self) -> list[Source]:
        """What is pulled from."""
        return self.puller.sources

    @property
    def in_hand(self) -> int:
        """How many messages are being worked on."""
        return len(self._in_hand)

    @property
    def hung(self) -> int:
        """How many ran into their timeout and did not end."""
        return sum(item.timed_out for item in self._in_hand.values())

    def oldest(self, now: float) -> float:
        """Seconds that the oldest message in hand has been worked on."""
        return max((now - item.began for item in self._in_hand.values()), default=0.0)

    async def keep_alive(self, now: float) -> None:
        """Tell the server of each message in hand that it is still being worked on, every third of its ack wait."""
        due = now - self._service.ack_wait / 3
        if not self._nc.is_connected:
            return
        for item in list(self._in_hand.values()):
            if item.extended <= due:
                item.extended = now
                await self._answer(item, IN_PROGRESS)

    async def idle(self) -> None:
        """Wait until nothing is in hand."""
        await self._idle.wait()

    async def hand_back(self) -> None:
        """Give everything in hand back to the server at once, unfinished; others take it over without delay."""
        for item in list(self._in_hand.values()):
            item.returned = True
            if item.task is not None:
                item.task.cancel()
        try:
            async with asyncio.timeout(_RELEASE):
                await self._idle.wait()
        except TimeoutError:
            for item in list(self._in_hand.values()):  # handlers that do not let themselves be cancelled
                await self._release(item)

    async def _release(self, item: InHand) -> None:
        """Hand one message back; it was not the message's fault, so the attempt does not count.

        One that ignored its timeout has failed: handed on as if nothing had been, it would hang the next worker, too.
        """
        if item.timed_out and item.attempt is not None:
            await self._failed(item, *item.attempt, _late(item.attempt[0]))
            return
        if item.record is not None:
            await self._attempts.save(item.delivery.stream, item.delivery.sequence, item.record)
        await self._answer(item, NAK)

    def _gone(self, source: Source) -> None:
        self.missing.add(source.index)

    def _deliver(self, source: Source, message: Msg, known: Delivery) -> bool:
        key = (source.index, known.sequence)
        running = self._in_hand.get(key)
        if running is not None:
            # Redelivered while it still runs here, after a cut connection say: go on, and answer to the new delivery.
            running.reply = message.reply
            source.in_hand -= 1
            return True
        if len(self._in_hand) >= self._service.concurrency:
            return False
        kind = _JOB if source.index < self._lanes else Kind.EVENT
        item = InHand(source, kind, message, known, source.heard)
        self._in_hand[key] = item
        self._idle.clear()
        # Not in a TaskGroup: `_in_hand` holds the task, `idle()` waits for it, and it never raises.
        item.task = self._loop.create_task(self._work(key, item))
        return True

    async def _work(self, key: tuple[int, int], item: InHand) -> None:
        try:
            target = self._target(item)
            if isinstance(target, Misfit):
                await self._give_up(item, NONE, target.tenant, target.operation, target.cause, target.reason, None)
            elif target is None:
                await self._answer(item, ACK)
            elif item.delivery.delivered == 1:
                await self._run(item, target, NONE)
            else:
                await self._run_again(item, target)
        except asyncio.CancelledError:
            if item.returned:
                await self._release(item)
        except Exception:
            # Unanswered, so the server delivers it again after the ack wait.
            _log.exception("%s %d could not be worked on", item.delivery.stream, item.delivery.sequence)
        finally:
            del self._in_hand[key]
            self.puller.finished(item.source)
            if not self._in_hand:
                self._idle.set()

    def _target(self, item: InHand) -> Target | Misfit | None:
        """The handler a message is for; None if it is an event that was replayed for another service alone."""
        message = item.message
        parts = message.subject.split(".")
        try:
            if item.kind is _JOB:
                tenant, operation = subjects.token(parts[4], "tenant"), parts[5]
                found = self._handlers.get(operation)
                if found is None:
                    reason = f"version {self._scope.version} has no job {operation!r}"
                    return Misfit(dead.Cause.UNKNOWN_OPERATION, tenant, operation, reason)
                return found[0], found[1], tenant, operation
            tenant = subjects.token(parts[1], "tenant")
        except InvalidSubject as error:
            safe = [re.sub(r"[^a-z0-9-]", "-", part.lower()).lstrip("-")[:63] or "invalid" for part in parts]
            where = (safe[4], safe[5]) if item.kind is _JOB else (safe[1], dead.operation_of_event(safe[-1]))
            return Misfit(dead.Cause.INVALID_INPUT, *where, str(error))
        only = (message.headers or {}).get(headers.ONLY)
        if only is not None and only != self._service.name:
            return None
        handler, invoke = self._events[item.source.index - self._lanes]
        return handler, invoke, tenant, dead.operation_of_event(handler.name)

    async def _run_again(self, item: InHand, target: Target) -> None:
        """Run a message that was delivered before, if what happened to it then allows that."""
        handler, _, tenant, operation = target
        record = (await self._attempts.load(item.delivery.stream, item.delivery.sequence)).redelivered()
        if record.convicted(handler.retry):
            reason = f"{record.crashes} of {record.made} attempts ended with the death of their worker"
            await self._give_up(item, record, tenant, operation, dead.Cause.WORKER_LOST, reason, None)
        elif record.suspicious(handler.retry):
            async with self._isolation.alone():
                await self._begin(item, record, alone=True)
                await self._run(item, target, record)
        else:
            async with self._isolation.together():
                await self._begin(item, record, alone=False)
                await self._run(item, target, record)

    async def _begin(self, item: InHand, record: Attempts, *, alone: bool) -> None:
        """Note that an attempt is under way: if the worker dies of it, the next one knows."""
        item.record = record
        await self._attempts.save(item.delivery.stream, item.delivery.sequence, record.started(alone=alone))

    async def _run(self, item: InHand, target: Target, record: Attempts) -> None:
        """Make one attempt and answer for it."""
        handler, invoke, tenant, operation = target
        known = item.delivery
        message = item.message
        try:
            value = handler.input.decode(message.data)
        except InvalidInput as error:
            self._counters.rejected += 1
            await self._give_up(item, record, tenant, operation, dead.Cause.INVALID_INPUT, error.message, None)
            return
        name = handler.name
        context = Context(
            self._scope,
            tenant,
            name,
            message.headers,
            record.made + 1,
            time.monotonic() + handler.timeout,
            known,
        )
        item.attempt = (handler, record, context, operation)
        item.began = began = time.monotonic()
        self._timeouts.limit(item, began + handler.timeout)
        try:
            try:
                if self._telemetry is None:
                    await invoke(value, context)
                else:
                    kind, service, version = item.kind.value, self._service.name, self._scope.version
                    with self._telemetry.processing(
                        kind, service, version, name, tenant, message.headers, record.made + 1
                    ):
                        await invoke(value, context)
            finally:
                item.due = NEVER  # the limit is the handler's: answering for it is not to be cut off
        except Reject as error:
            self._counters.rejected += 1
            await self._give_up(item, record, tenant, operation, dead.Cause.REJECTED, error.message, error)
        except asyncio.CancelledError as error:
            await self._failed(item, handler, record, context, operation, _cancelled(item, handler, error))
        except Exception as error:
            await self._failed(item, handler, record, context, operation, error)
        else:
            await self._answer(item, ACK)
            self._counters.processed += 1
            if known.delivered > 1:
                await self._attempts.clear(known.stream, known.sequence)
        finally:
            latency = self._job_latency if item.kind is _JOB else self._event_latency
            latency.record(time.monotonic() - began)

    async def _failed(
        self, item: InHand, handler: Handler, record: Attempts, context: Context, operation: str, error: BaseException
    ) -> None:
        """Hand the message back with its back-off, or give it up after the last attempt."""
        self._counters.failed += 1
        made = record.failed()
        last = handler.retry.exhausted(made.made)
        delay = 0.0 if last else handler.retry.delay(made.made)
        _log.log(
            logging.ERROR if last else logging.WARNING,
            "%s failed, attempt %d of %d, %s",
            context.operation,
            made.made,
            handler.retry.attempts,
            "given up" if last else f"again in {delay:.1f} s",
            exc_info=error if not isinstance(error, HeadwayError) or last else None,
            extra={"headway": {**log_fields(context), "cause": str(error) or type(error).__name__}},
        )
        if last:
            reason = f"{type(error).__name__}: {error}"
            await self._give_up(item, made, context.tenant, operation, dead.Cause.ERROR, reason, error)
            return
        self._counters.retried += 1
        self._counters.waiting.add(delay, time.monotonic())
        await self._attempts.save(item.delivery.stream, item.delivery.sequence, made)
        await self._answer(item, nak(delay))

    async def _give_up(
        self,
        item: InHand,
        record: Attempts,
        tenant: str,
        operation: str,
        cause: dead.Cause,
        reason: str,
        error: BaseException | None,
    ) -> None:
        """Store the dead letter, and only then take the message off its queue."""
        known = item.delivery
        attempts = record.made if cause in (dead.Cause.ERROR, dead.Cause.WORKER_LOST) else record.made + 1
        fields = dead.compose(
            item.message.headers,
            cause=cause,
            reason=reason,
            attempts=attempts,
            error=error,
            subject=item.message.subject,
            stream=known.stream,
            sequence=known.sequence,
            at=datetime.now(UTC),
        )
        try:
            await dead.bury(
                self._scope.bus, self._service.name, tenant, operation, item.message.data, fields, _STORE_TIMEOUT
            )
        except HeadwayError as failure:
            _log.error("%s %d stays queued, its dead letter is not stored: %s", known.stream, known.sequence, failure)
            await self._answer(item, nak(_DEAD_RETRY))
            return
        self._counters.dead += 1
        if self._telemetry is not None:
            self._telemetry.buried(self._service.name, self._scope.version, cause.value)
        await self._answer(item, term(f"{cause.value}: {reason}"))
        if known.delivered > 1:
            await self._attempts.clear(known.stream, known.sequence)

    async def _answer(self, item: InHand, word: bytes) -> None:
        try:
            if not self._outbox.offer(item.reply, word):
                await self._nc.publish(item.reply, word)
        except nats.errors.Error as error:
            # The server has not heard of it and will deliver again: at least once.
            _log.warning("%s %d is not answered: %r", item.delivery.stream, item.delivery.sequence, error)


def _cancelled(item: InHand, handler: Handler, error: asyncio.CancelledError) -> BaseException:
    """What a handler failed of that ended cancelled.

    Raises:
        asyncio.CancelledError: if its worker cancelled it.
    """
    task = asyncio.current_task()
    if item.timed_out and task is not None:
        task.uncancel()
        return _late(handler).with_traceback(error.__traceback__)
    if task is not None and task.cancelling():
        raise error
    return error  # the handler let somebody else's cancellation escape: that is a failure like any other


def _late(handler: Handler) -> DeadlineExceeded:
    return DeadlineExceeded(f"{handler.name} took longer than {handler.timeout:g} s", remedy="")
