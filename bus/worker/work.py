"""Durable work: jobs and events, from delivery to acknowledgement.

A message is acknowledged after its handler returned, kept alive while it runs, handed back with a back-off when it
failed, and dead-lettered with its cause when it is given up. Nothing is acknowledged before its effect or its dead
letter is stored, so whatever dies in between, the server delivers it again.

Nothing is run more often than its policy allows. An attempt that cannot be recorded, because the bucket of attempts is
full or does not answer, keeps its message in hand: the back-off and the next attempt take place here. A message that
was delivered before waits until its record can be read and written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Final

import nats.errors
from nats.aio.msg import Msg

from headway.bus.client import dead
from headway.bus.context import Context, WorkerScope, log_fields
from headway.bus.errors import DeadlineExceeded, HeadwayError, InvalidInput, InvalidSubject, Reject, text_of
from headway.bus.handlers import Handler, Invoke, Kind
from headway.bus.nats.delivery import ACK, IN_PROGRESS, NAK, Delivery, nak, term
from headway.bus.nats.streams import EVENTS, event_consumer, jobs_stream, lane_consumer
from headway.bus.service import Service
from headway.bus.wire import headers, subjects
from headway.bus.wire.beat import Counters
from headway.bus.worker.attempts import NONE, Attempts, AttemptsLog, Isolation
from headway.bus.worker.consume import MessagePuller, Source
from headway.bus.worker.execute import execute
from headway.bus.worker.timeouts import NEVER, Timed, Timeouts

_STORE_RETRY = 5.0
"""Seconds after which a record or dead letter that could not be stored, or read, is tried again."""
_STORE_TIMEOUT = 5.0
_RELEASE = 1.0
"""Seconds that cancelled handlers have to end."""
_ALARM = 10.0
"""Seconds between two lines about the same trouble."""

_COUNTED: Final = frozenset({dead.Cause.ERROR, dead.Cause.WORKER_LOST, dead.Cause.BLOCKED})
"""Causes that are decided after an attempt was counted; the others end one."""

_JOB: Final = Kind.JOB
"""Looked up once: on Python 3.11 an enum's members are slow to reach."""

_log = logging.getLogger("headway.bus")


class Attempt(Timed):
    """One message in hand, and the attempt that is made of it.

    Attributes:
        source: where it came from.
        kind: job or event.
        message: it.
        delivery: what the server says of its delivery.
        reply: the subject to answer to; the latest one, if it was delivered again meanwhile.
        began: when it came, then when its handler began (monotonic seconds).
        extended: when the server was last told that it is being worked on.
        record: what happened to it before.
        noted: whether the log of attempts has a record of it.
        alone: whether it is run alone.
        handler, invoke: who works on it; None if nobody can.
        tenant, operation: whose it is, and where its dead letter is filed.
        context: the handler's, once it runs.
    """

    __slots__ = (
        "alone",
        "began",
        "context",
        "delivery",
        "extended",
        "handler",
        "invoke",
        "kind",
        "message",
        "noted",
        "operation",
        "record",
        "reply",
        "source",
        "tenant",
    )

    waits: ClassVar[bool] = True
    handler: Handler
    invoke: Invoke

    def __init__(self, source: Source, kind: Kind, message: Msg, delivery: Delivery, now: float) -> None:
        self.due = NEVER  # said here and not by super(): this runs for each message
        self.timed_out = False
        self.returned = False
        self.thread = None
        self.source = source
        self.kind = kind
        self.message = message
        self.delivery = delivery
        self.reply = message.reply
        self.began = now
        self.extended = now
        self.record = NONE
        self.noted = self.alone = False
        self.context: Context | None = None
        self.tenant = self.operation = ""


class Misfit(Exception):  # no error: it says what becomes of a message
    """No handler can take a message.

    Args:
        cause: of its dead letter.
        reason: likewise.
    """

    def __init__(self, cause: dead.Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


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
        self._attempts = AttemptsLog(scope.bus.js, service.name)
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
        self._in_hand: dict[tuple[int, int], Attempt] = {}
        self._timeouts = Timeouts(self._in_hand.values())
        self._idle = asyncio.Event()
        self._idle.set()
        self._isolation = Isolation()
        self._alarm_at = -_ALARM

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
        return sum(attempt.timed_out for attempt in self._in_hand.values())

    def oldest(self, now: float) -> float:
        """Seconds that the oldest message in hand has been worked on."""
        return max((now - attempt.began for attempt in self._in_hand.values()), default=0.0)

    async def keep_alive(self, now: float) -> None:
        """Tell the server of each message in hand that it is still being worked on, every third of its ack wait."""
        due = now - self._service.ack_wait / 3
        if not self._nc.is_connected:
            return
        for attempt in list(self._in_hand.values()):
            if attempt.extended <= due:
                attempt.extended = now
                await self._answer(attempt, IN_PROGRESS)

    async def idle(self) -> None:
        """Wait until nothing is in hand."""
        await self._idle.wait()

    async def hand_back(self) -> None:
        """Give everything in hand back to the server at once, unfinished; others take it over without delay."""
        for attempt in list(self._in_hand.values()):
            attempt.returned = True
            if attempt.task is not None:
                attempt.task.cancel()
        try:
            async with asyncio.timeout(_RELEASE):
                await self._idle.wait()
        except TimeoutError:
            for attempt in list(self._in_hand.values()):  # handlers that do not let themselves be cancelled
                await self._release(attempt)

    async def _release(self, attempt: Attempt) -> None:
        """Hand one message back; it was not the message's fault, so the attempt does not count.

        One that ignored its timeout has failed: handed on as if nothing had been, it would hang the next worker, too.
        """
        if attempt.timed_out:
            attempt.record = attempt.record.failed()
            _log.error("%s: %s", attempt.operation, _late(attempt.handler).message)
            if attempt.handler.retry.exhausted(attempt.record.made):
                await self._give_up(attempt, dead.Cause.ERROR, f"DeadlineExceeded: {_late(attempt.handler)}")
                return
            await self._note(attempt, attempt.record)
            delay = attempt.handler.retry.delay(attempt.record.made)
            self._counters.waiting.add(delay, time.monotonic())
            await self._answer(attempt, nak(delay))
            return
        if attempt.noted or attempt.record.made:
            await self._note(attempt, attempt.record)
        await self._answer(attempt, NAK)

    def blocked(self, task: asyncio.Task[Any], where: str) -> Coroutine[Any, Any, None] | None:
        """Return what notes that a task blocks the event loop. To be run in another loop: this one stands still.

        Args:
            task: the one that runs.
            where: it stands.
        """
        again = self._scope.bus.again
        attempt = next((one for one in self._in_hand.values() if one.task is task), None)
        if attempt is None or again is None:
            return None
        attempt.noted = True
        delivery, record = attempt.delivery, attempt.record.started(alone=attempt.alone).blocking(where)

        async def note() -> None:
            async with await again() as bus:
                await AttemptsLog(bus.js, self._service.name).save(delivery.stream, delivery.sequence, record)

        return note()

    def _gone(self, source: Source) -> None:
        self.missing.add(source.index)

    def _deliver(self, source: Source, message: Msg, delivery: Delivery) -> bool:
        key = (source.index, delivery.sequence)
        running = self._in_hand.get(key)
        if running is not None:
            # Redelivered while it still runs here, after a cut connection say: go on, and answer to the new delivery.
            running.reply = message.reply
            source.in_hand -= 1
            return True
        if len(self._in_hand) >= self._service.concurrency:
            return False
        kind = _JOB if source.index < self._lanes else Kind.EVENT
        attempt = Attempt(source, kind, message, delivery, source.heard)
        self._in_hand[key] = attempt
        self._idle.clear()
        # Not in a TaskGroup: `_in_hand` holds the task, `idle()` waits for it, and it never raises.
        attempt.task = self._loop.create_task(self._work(key, attempt))
        return True

    async def _work(self, key: tuple[int, int], attempt: Attempt) -> None:
        try:
            if not self._address(attempt):
                await self._answer(attempt, ACK)
            elif attempt.delivery.delivered == 1:
                await self._run_until_done(attempt)
            else:
                await self._run_again(attempt)
        except Misfit as misfit:
            await self._give_up(attempt, misfit.cause, misfit.reason)
        except asyncio.CancelledError:
            if attempt.returned:
                await self._release(attempt)
        except Exception:
            # Unanswered, so the server delivers it again after the ack wait.
            _log.exception("%s %d could not be worked on", attempt.delivery.stream, attempt.delivery.sequence)
        finally:
            del self._in_hand[key]
            self.puller.finished(attempt.source)
            if not self._in_hand:
                self._idle.set()

    def _address(self, attempt: Attempt) -> bool:
        """Find out whom a message is for.

        Returns:
            False if it is an event that was replayed for another service alone.

        Raises:
            Misfit: if no handler can take it.
        """
        message = attempt.message
        try:
            if attempt.kind is _JOB:
                attempt.tenant, attempt.operation = subjects.job_addressee(message.subject)
                found = self._handlers.get(attempt.operation)
                if found is None:
                    reason = f"version {self._scope.version} has no job {attempt.operation!r}"
                    raise Misfit(dead.Cause.UNKNOWN_OPERATION, reason)
            else:
                found = self._events[attempt.source.index - self._lanes]
                attempt.operation = dead.operation_of_event(found[0].name)
                attempt.tenant = subjects.parse_event(message.subject).tenant
                only = (message.headers or {}).get(headers.ONLY)
                if only is not None and only != self._service.name:
                    return False
        except InvalidSubject as error:
            parts = [*message.subject.split("."), "", "", "", "", "", ""]
            if attempt.kind is _JOB:
                attempt.tenant, attempt.operation = parts[4], parts[5]
            else:
                attempt.tenant = parts[1]
            raise Misfit(dead.Cause.INVALID_INPUT, str(error)) from error
        attempt.handler, attempt.invoke = found
        return True

    async def _run_again(self, attempt: Attempt) -> None:
        """Run a message that was delivered before, if what happened to it then allows that."""
        delivery, retry = attempt.delivery, attempt.handler.retry
        try:
            record = (await self._attempts.load(delivery.stream, delivery.sequence)).redelivered()
        except HeadwayError as error:
            await self._wait(attempt, "its former attempts are unknown", error)
            return
        attempt.record = record
        if record.cause:
            await self._give_up(attempt, dead.Cause(record.cause), record.reason, record.digest)
        elif record.convicted(retry):
            reason = f"{record.crashes} of {record.made} attempts ended with the death of their worker"
            if record.blocked:
                blocked = f"it blocked the event loop at {record.blocked}; {reason}"
                await self._give_up(attempt, dead.Cause.BLOCKED, blocked)
            else:
                await self._give_up(attempt, dead.Cause.WORKER_LOST, reason)
        else:
            alone = record.suspicious(retry)
            async with self._isolation.alone() if alone else self._isolation.together():
                attempt.alone = alone
                try:
                    await self._attempts.save(delivery.stream, delivery.sequence, record.started(alone=alone))
                except HeadwayError as error:
                    await self._wait(attempt, "its next attempt cannot be recorded", error)
                    return
                attempt.noted = True
                await self._run_until_done(attempt)

    async def _wait(self, attempt: Attempt, why: str, error: HeadwayError) -> None:
        """Hand a message back unstarted."""
        self._alarm(attempt, f"it waits: {why}", error)
        await self._answer(attempt, nak(_STORE_RETRY))

    async def _run_until_done(self, attempt: Attempt) -> None:
        """Make attempts until the message is answered. There is more than one only if a failure cannot be recorded."""
        pause = await self._run(attempt)
        while pause is not None:
            attempt.context, attempt.began = None, time.monotonic()
            await asyncio.sleep(pause)
            pause = await self._run(attempt)

    async def _run(self, attempt: Attempt) -> float | None:
        """Make one attempt and answer for it.

        Returns:
            Seconds after which to make another one here; None if the message is answered.
        """
        handler, record, message = attempt.handler, attempt.record, attempt.message
        try:
            value = handler.input.decode(message.data)
        except InvalidInput as error:
            self._counters.rejected += 1
            await self._give_up(attempt, dead.Cause.INVALID_INPUT, error.message)
            return None
        attempt.began = began = time.monotonic()
        until = began + handler.timeout
        attempt.context = context = Context(
            self._scope, attempt.tenant, handler.name, message.headers, record.made + 1, until, attempt.delivery
        )
        self._timeouts.limit(attempt, until)
        failed = True
        try:
            try:
                if self._telemetry is None:
                    await execute(attempt, handler, attempt.invoke, value, context)
                else:
                    kind, service, version = attempt.kind.value, self._service.name, self._scope.version
                    with self._telemetry.processing(
                        kind, service, version, handler.name, attempt.tenant, message.headers, record.made + 1
                    ):
                        await execute(attempt, handler, attempt.invoke, value, context)
            finally:
                attempt.due = NEVER  # the limit is the handler's: answering for it is not to be cut off
        except GeneratorExit:
            raise
        except Reject as error:
            failed = False
            self._counters.rejected += 1
            await self._give_up(attempt, dead.Cause.REJECTED, str(error.message), dead.digest(error))
        except asyncio.CancelledError as error:
            return await self._failed(attempt, _cancelled(attempt, error))
        except BaseException as error:
            # Whatever a handler raises is its failure: sys.exit(), or a panic of Rust, must not end the worker.
            return await self._failed(attempt, error)
        else:
            failed = False
            await self._answer(attempt, ACK)
            self._counters.processed += 1
            if attempt.delivery.delivered > 1 or attempt.noted:
                await self._attempts.clear(attempt.delivery.stream, attempt.delivery.sequence)
        finally:
            latency = self._job_latency if attempt.kind is _JOB else self._event_latency
            latency.record(took := time.monotonic() - began)
            self._counters.ended(handler.name, attempt.tenant, took, failed=failed)
        return None

    async def _failed(self, attempt: Attempt, error: BaseException) -> float | None:
        """Hand the message back with its back-off, or give it up after the last attempt. Returns as `_run` does."""
        self._counters.failed += 1
        retry = attempt.handler.retry
        attempt.record = made = attempt.record.failed()
        attempt.timed_out = False
        last = retry.exhausted(made.made)
        delay = 0.0 if last else retry.delay(made.made)
        assert attempt.context is not None
        _log.log(
            logging.ERROR if last else logging.WARNING,
            "%s failed, attempt %d of %d, %s",
            attempt.context.operation,
            made.made,
            retry.attempts,
            "given up" if last else f"again in {delay:.1f} s",
            exc_info=error if not isinstance(error, HeadwayError) or last else None,
            extra={"headway": {**log_fields(attempt.context), "cause": text_of(error)}},
        )
        if last:
            reason = f"{type(error).__name__}: {text_of(error)}"
            await self._give_up(attempt, dead.Cause.ERROR, reason, dead.digest(error))
            return None
        self._counters.retried += 1
        if not await self._note(attempt, made):
            return delay
        self._counters.waiting.add(delay, time.monotonic())
        await self._answer(attempt, nak(delay))
        return None

    async def _note(self, attempt: Attempt, record: Attempts) -> bool:
        """Record what happened to a message; False if it cannot be recorded."""
        try:
            await self._attempts.save(attempt.delivery.stream, attempt.delivery.sequence, record)
        except HeadwayError as error:
            self._alarm(attempt, "it stays in hand: its attempts cannot be recorded", error)
            return False
        attempt.noted = True
        return True

    async def _give_up(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str = "") -> None:
        """Store the dead letter, and only then take the message off its queue.

        A message that has run is not run again while its letter cannot be stored: that it is given up is recorded, or
        it stays in hand.
        """
        delivery = attempt.delivery
        while not await self._bury(attempt, cause, reason, digest):
            has_run = cause in (dead.Cause.ERROR, dead.Cause.REJECTED)
            if not has_run or await self._note(attempt, attempt.record.sentenced(cause.value, reason, digest)):
                await self._answer(attempt, nak(_STORE_RETRY))
                return
            if attempt.returned:
                return  # its worker ends; the server delivers it again after the ack wait
            await asyncio.sleep(_STORE_RETRY)
        self._counters.dead += 1
        if self._telemetry is not None:
            self._telemetry.buried(self._service.name, self._scope.version, cause.value)
        await self._answer(attempt, term(f"{cause.value}: {headers.clean(reason)}"))
        if delivery.delivered > 1 or attempt.noted:
            await self._attempts.clear(delivery.stream, delivery.sequence)

    async def _bury(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str) -> bool:
        """Store a dead letter; False if it cannot be stored now."""
        delivery, made = attempt.delivery, attempt.record.made
        fields = dead.compose(
            attempt.message.headers,
            cause=cause,
            reason=reason,
            attempts=made if cause in _COUNTED else made + 1,
            error=digest,
            subject=attempt.message.subject,
            stream=delivery.stream,
            sequence=delivery.sequence,
            at=datetime.now(UTC),
        )
        where = (self._service.name, attempt.tenant, attempt.operation)
        try:
            await dead.bury(self._scope.bus, *where, attempt.message.data, fields, _STORE_TIMEOUT)
        except HeadwayError as error:
            self._alarm(attempt, "it stays queued: its dead letter is not stored", error)
            return False
        return True

    def _alarm(self, attempt: Attempt, what: str, error: HeadwayError) -> None:
        """Say that JetStream does not take what has to be stored: once in a while, since it concerns many messages."""
        self._counters.unstored += 1
        now = time.monotonic()
        level = logging.ERROR if now - self._alarm_at >= _ALARM else logging.DEBUG
        if level == logging.ERROR:
            self._alarm_at = now
        _log.log(level, "%s %d: %s: %s", attempt.delivery.stream, attempt.delivery.sequence, what, error)

    async def _answer(self, attempt: Attempt, word: bytes) -> None:
        try:
            if not self._outbox.offer(attempt.reply, word):
                await self._nc.publish(attempt.reply, word)
        except nats.errors.Error as error:
            # The server has not heard of it and will deliver again: at least once.
            _log.warning("%s %d is not answered: %r", attempt.delivery.stream, attempt.delivery.sequence, error)


def _cancelled(attempt: Attempt, error: asyncio.CancelledError) -> BaseException:
    """What a handler failed of that ended cancelled.

    Raises:
        asyncio.CancelledError: if its worker cancelled it.
    """
    task = asyncio.current_task()
    if attempt.timed_out and not attempt.returned and task is not None:
        task.uncancel()
        return _late(attempt.handler).with_traceback(error.__traceback__)
    if task is not None and task.cancelling():
        raise error
    return error  # the handler let somebody else's cancellation escape: that is a failure like any other


def _late(handler: Handler) -> DeadlineExceeded:
    return DeadlineExceeded(f"{handler.name} took longer than {handler.timeout:g} s", remedy="")
