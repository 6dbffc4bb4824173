"""Durable work: jobs and events, from delivery to acknowledgement.

A message is acknowledged after its handler has returned, renewed while it runs, handed back with a back-off when it
fails, and dead-lettered with its cause when it is given up. It is acknowledged only after its handler has finished or
its dead letter is stored, so if a process dies in between, the server redelivers it.

No message runs more often than its policy allows. If an attempt cannot be recorded, because the bucket of attempts is
full or does not answer, the worker keeps the message: the back-off and the next attempt take place here. A redelivered
message waits until its record can be read and written.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import cached_property
from typing import Any, Final

from nats.aio.msg import Msg

from headway.bus.client import dead
from headway.bus.context import Context, WorkerScope, log_fields
from headway.bus.errors import DeadlineExceeded, HeadwayError, InvalidInput, InvalidSubject, Reject, text_of
from headway.bus.handlers import Handler, Invoke, Kind
from headway.bus.nats.delivery import ACK, IN_PROGRESS, NAK, Delivery
from headway.bus.nats.streams import EVENTS, event_consumer, jobs_stream, lane_consumer
from headway.bus.service import Service
from headway.bus.wire import headers, subjects
from headway.bus.wire.beat import Counters
from headway.bus.worker.attempt import Attempt, Misfit
from headway.bus.worker.attempts import NONE, AttemptsLog, Isolation
from headway.bus.worker.backlog import Backlog
from headway.bus.worker.consume import MessagePuller, Source
from headway.bus.worker.execute import execute
from headway.bus.worker.mover import Mover
from headway.bus.worker.settle import Settlement
from headway.bus.worker.timeouts import NEVER, Timeouts

_RELEASE = 1.0
"""Seconds that cancelled handlers have to finish."""
_HOLD: Final = 0.05
"""Seconds that a message waits for a free slot before it is handed back, perhaps to a worker that has one."""

_EARLY: Final = 0.01
"""Seconds by which a timer may fire early."""

_JOB: Final = Kind.JOB
"""Looked up once: on Python 3.11 access to enum members is slow."""

_CAUSES: Final = frozenset(dead.Cause)

_log = logging.getLogger("headway.bus")


class WorkRunner:
    """Receives and runs the jobs and events of one worker.

    Args:
        scope: state that its handlers share.
        service: the service.
        counters: the worker's counters.
        executor: runs `def` handlers.
        stir: called when a message comes and none is in hand, and when a consumer is gone.
    """

    def __init__(
        self,
        scope: WorkerScope,
        service: Service,
        counters: Counters,
        executor: Executor,
        stir: Callable[[], None],
    ) -> None:
        self._scope = scope
        self._service = service
        self._counters = counters
        self._job_latency, self._event_latency = counters.latency[Kind.JOB.value], counters.latency[Kind.EVENT.value]
        self._nc = scope.bus.nc
        self._telemetry = scope.bus.telemetry
        self._settle = Settlement(scope, counters)
        self._handlers: dict[str, tuple[Handler, Invoke]] = {
            name: (handler, handler.bind(executor)) for name, handler in service.handlers_of(Kind.JOB).items()
        }
        self._events = [(handler, handler.bind(executor)) for handler in service.handlers_of(Kind.EVENT).values()]
        self._lanes = subjects.LANES if self._handlers else 0
        self._common = subjects.COMMON if self._handlers else 0
        self._outbox = scope.bus.outbox
        sources = [(jobs_stream(service.name), lane_consumer(scope.version, lane)) for lane in range(self._lanes)]
        sources += [(EVENTS, event_consumer(service.name, handler.name)) for handler, _ in self._events]
        self.missing: set[int] = set()
        """Indexes of sources whose consumer is gone and must be created again."""
        self.puller = MessagePuller(self._nc, sources, service.concurrency, self._deliver, self._gone)
        self._in_hand: dict[tuple[int, int], Attempt] = {}
        self._held: dict[tuple[int, int], Attempt] = {}
        """Messages that arrived with all slots taken, in order. They get the next free slots."""
        self.backlog = Backlog(
            self._nc,
            jobs_stream(service.name),
            service.name,
            scope.version,
            list(self.puller.sources[: self._lanes]),
            service.concurrency,
        )
        self.mover = Mover(scope.bus, service.ack_wait, self.puller.wake, self.backlog.suspend)
        self._timeouts = Timeouts(self._in_hand.values())
        self._idle = asyncio.Event()
        self._idle.set()
        self._isolation = Isolation()
        self._stir = stir

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, cached: getting it costs a system call on Python 3.11, too much for each message."""
        return asyncio.get_running_loop()

    @property
    def sources(self) -> list[Source]:
        """The consumers to pull from."""
        return self.puller.sources

    @property
    def jobs(self) -> bool:
        """Whether the service has jobs."""
        return bool(self._handlers)

    @property
    def tenants(self) -> list[str]:
        """The tenant of each message being worked on."""
        return [attempt.tenant for attempt in self._in_hand.values()]

    @property
    def in_hand(self) -> int:
        """Number of messages being worked on."""
        return len(self._in_hand)

    @property
    def hung(self) -> int:
        """Number of messages that exceeded their timeout and are still running."""
        return sum(attempt.timed_out for attempt in self._in_hand.values())

    def oldest(self, now: float) -> float:
        """Return the seconds that the oldest message has been worked on."""
        return max((now - attempt.began for attempt in self._in_hand.values()), default=0.0)

    async def keep_alive(self, now: float) -> None:
        """Renew the ack wait of messages in progress that were not renewed for a third of it."""
        due = now - self._service.ack_wait / 3
        if not self._nc.is_connected:
            return
        for attempt in [*self._in_hand.values(), *self._held.values()]:
            if attempt.extended <= due:
                attempt.extended = now
                await self._settle.answer(attempt, IN_PROGRESS)

    async def idle(self) -> None:
        """Wait until no message is being worked on or moved."""
        await self._idle.wait()
        await self.mover.idle()

    async def hand_back(self) -> None:
        """Hand all unfinished messages back to the server at once, for other workers to take over."""
        self._return_held(math.inf)
        for attempt in list(self._in_hand.values()):
            attempt.returned = True
            if attempt.task is not None:
                attempt.task.cancel()
        try:
            async with asyncio.timeout(_RELEASE):
                await self._idle.wait()
        except TimeoutError:
            for attempt in list(self._in_hand.values()):  # handlers that ignore cancellation
                await self._release(attempt)

    async def _release(self, attempt: Attempt) -> None:
        """Hand one message back. The attempt does not count, because the message did not cause the interruption.

        A message that ignored its timeout has failed: without counting that, it would hang the next worker, too.
        """
        if attempt.timed_out:
            attempt.record = attempt.record.failed()
            _log.error("%s: %s", attempt.operation, _late(attempt.handler).message)
            if attempt.handler.retry.exhausted(attempt.record.made):
                await self._settle.give_up(attempt, dead.Cause.ERROR, f"DeadlineExceeded: {_late(attempt.handler)}")
                return
            delay = attempt.handler.retry.delay(attempt.record.made)
            await self._settle.note(attempt, attempt.record.waiting(delay))
            await self._settle.retry(attempt, delay)
            return
        if attempt.noted or attempt.record.made:
            await self._settle.note(attempt, attempt.record)
        await self._settle.answer(attempt, NAK)

    def blocked(self, task: asyncio.Task[Any], where: str) -> Coroutine[Any, Any, None] | None:
        """Return a coroutine that records a blocked event loop. Run it in another loop, since this one is blocked.

        Args:
            task: the task that blocks.
            where: its position in the code.
        """
        again = self._scope.bus.again
        attempt = next((one for one in self._in_hand.values() if one.task is task), None)
        if attempt is None or again is None:
            return None
        attempt.noted = True
        delivery, record = attempt.delivery, attempt.record.started(alone=attempt.alone).blocking(where)

        async def note() -> None:
            async with await again() as bus:
                await AttemptsLog(bus.js, self._service.name, bus.seal).save(delivery.stream, delivery.sequence, record)

        return note()

    def _gone(self, source: Source) -> None:
        self.missing.add(source.index)
        self._stir()

    def _deliver(self, source: Source, message: Msg, delivery: Delivery) -> bool:
        key = (source.index, delivery.sequence)
        running = self._in_hand.get(key) or self._held.get(key)
        if running is not None:
            # Redelivered while it still runs here, for example after a reconnect: answer the new delivery.
            running.reply = message.reply
            source.in_hand -= 1
            return True
        if source.index < self._common:
            if delivery.pending > self.backlog.few:
                self.backlog.notice()
            if (source.sidelining or delivery.delivered > 1) and self._moved(source, message, delivery):
                source.in_hand -= 1  # it takes no slot
                return True
        kind = _JOB if source.index < self._lanes else Kind.EVENT
        attempt = Attempt(source, kind, message, delivery, source.heard)
        if not self._in_hand:
            self._stir()
        self._idle.clear()
        if len(self._in_hand) >= self._service.concurrency:
            if not self._held:
                self._loop.call_later(_HOLD, self._return_held, _HOLD)
            self._held[key] = attempt
        else:
            self._start(key, attempt)
        return True

    def _start(self, key: tuple[int, int], attempt: Attempt) -> None:
        self._in_hand[key] = attempt
        # Not in a TaskGroup: `_in_hand` holds the task, `idle()` waits for it, and it never raises.
        attempt.task = self._loop.create_task(self._work(key, attempt))

    def _return_held(self, after: float) -> None:
        """Hand back the messages that have waited for a slot for so many seconds."""
        now = time.monotonic()
        for key, attempt in list(self._held.items()):
            if after == math.inf or now - attempt.began >= after - _EARLY:
                del self._held[key]
                self.puller.returned(attempt.source, attempt.reply)
        if self._held:
            self._loop.call_later(_HOLD, self._return_held, _HOLD)
        elif not self._in_hand:
            self._idle.set()

    def _moved(self, source: Source, message: Msg, delivery: Delivery) -> bool:
        """Move a job to its tenant's lane if the tenant is sidelined; return whether it needs no slot here.

        A redelivered job is not moved before the record of its attempts is read (`_run_again`).
        """
        if delivery.delivered > 1:
            if self.mover.is_moving(delivery):
                return True
            if not self.mover.is_moved(delivery):
                return False
            self._outbox.offer(message.reply, ACK)
            return True
        one = self.backlog.sidelined.get(message.subject.split(".")[4])
        return one is not None and self.mover.move(source, message, delivery, one.lane)

    async def _work(self, key: tuple[int, int], attempt: Attempt) -> None:
        try:
            if not self._address(attempt):
                await self._settle.answer(attempt, ACK)
            elif attempt.delivery.delivered == 1:
                await self._run_until_done(attempt)
            else:
                await self._run_again(attempt)
        except Misfit as misfit:
            await self._settle.give_up(attempt, misfit.cause, misfit.reason)
        except asyncio.CancelledError:
            if attempt.returned:
                await self._release(attempt)
        except Exception:
            # Not answered, so the server redelivers it after the ack wait.
            _log.exception("%s %d could not be processed", attempt.delivery.stream, attempt.delivery.sequence)
        finally:
            del self._in_hand[key]
            self.puller.finished(attempt.source)
            if self._held:
                held = next(iter(self._held))
                self._start(held, self._held.pop(held))
            elif not self._in_hand:
                self._idle.set()

    def _address(self, attempt: Attempt) -> bool:
        """Find the tenant and the handler of a message.

        Returns:
            False if it is an event that was replayed only for another service.

        Raises:
            Misfit: if no handler can process it.
        """
        message = attempt.message
        try:
            if attempt.kind is _JOB:
                attempt.tenant, attempt.operation = subjects.job_addressee(message.subject)
                if attempt.source.index < self._common:
                    self.backlog.saw(attempt.source.index, attempt.tenant, attempt.began)
                found = self._handlers.get(attempt.operation)
                if found is None:
                    reason = f"version {self._scope.version} has no job {attempt.operation!r}"
                    raise Misfit(dead.Cause.UNKNOWN_OPERATION, reason)
            else:
                found = self._events[attempt.source.index - self._lanes]
                attempt.operation = dead.operation_of_event(found[0].name)
                attempt.tenant = subjects.parse_event(message.subject).tenant
                fields = message.headers or {}
                only = fields.get(headers.ONLY, self._service.name)
                proven = self._scope.bus.ids.proven
                if only != self._service.name and proven(fields.get(headers.PROOF), attempt.tenant, "", only):
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
        """Run a redelivered message, if its previous attempts allow it."""
        delivery, retry = attempt.delivery, attempt.handler.retry
        try:
            record = (await self._settle.attempts.load(delivery.stream, delivery.sequence)).redelivered()
        except HeadwayError as error:
            await self._settle.wait(attempt, "the record of its attempts cannot be read", error)
            return
        attempt.record = record
        if record == NONE and attempt.source.index < self._common and await self._is_elsewhere(attempt):
            return
        if record.cause:
            cause = dead.Cause(record.cause) if record.cause in _CAUSES else dead.Cause.ERROR
            await self._settle.give_up(attempt, cause, record.reason, record.digest)
        elif record.convicted(retry) and not record.crashes:
            await self._settle.give_up(attempt, dead.Cause.ERROR, f"all of its {record.made} attempts failed")
        elif record.convicted(retry):
            reason = f"the worker died in {record.crashes} of {record.made} attempts"
            if record.blocked:
                blocked = f"it blocked the event loop at {record.blocked}; {reason}"
                await self._settle.give_up(attempt, dead.Cause.BLOCKED, blocked)
            else:
                await self._settle.give_up(attempt, dead.Cause.WORKER_LOST, reason)
        else:
            alone = record.suspicious(retry)
            async with self._isolation.alone() if alone else self._isolation.together():
                attempt.alone = alone
                try:
                    await self._settle.attempts.save(delivery.stream, delivery.sequence, record.started(alone=alone))
                except HeadwayError as error:
                    await self._settle.wait(attempt, "its next attempt cannot be recorded", error)
                    return
                attempt.noted = True
                await self._run_until_done(attempt)

    async def _is_elsewhere(self, attempt: Attempt) -> bool:
        """Settle a redelivered job without a record if it must not run here; return whether that is so.

        A worker may have died after it moved the job and before it acknowledged it.
        """
        try:
            if await self.mover.was_moved(attempt.message):
                await self._settle.answer(attempt, ACK)
                return True
        except HeadwayError as error:
            await self._settle.wait(attempt, "it is unknown whether it was moved to another lane", error)
            return True
        one = self.backlog.sidelined.get(attempt.tenant)
        return one is not None and self.mover.move(attempt.source, attempt.message, attempt.delivery, one.lane)

    async def _run_until_done(self, attempt: Attempt) -> None:
        """Make attempts until the message is answered: more than one only if failures cannot be recorded."""
        pause = await self._run(attempt)
        while pause is not None:
            attempt.context, attempt.began = None, time.monotonic()
            await asyncio.sleep(pause)
            pause = await self._run(attempt)

    async def _run(self, attempt: Attempt) -> float | None:
        """Make one attempt and answer for it.

        Returns:
            Seconds to wait before the next attempt here; None if the message is answered.
        """
        handler, record, message = attempt.handler, attempt.record, attempt.message
        try:
            value = handler.input.decode(message.data)
        except InvalidInput as error:
            self._counters.rejected += 1
            await self._settle.give_up(attempt, dead.Cause.INVALID_INPUT, error.message)
            return None
        attempt.began = began = time.monotonic()
        until = began + handler.timeout
        attempt.context = context = Context(
            self._scope,
            attempt.tenant,
            handler.name,
            message.headers,
            record.made + 1,
            until,
            attempt.delivery,
            message,
        )
        self._timeouts.limit(attempt, until)
        failed, rejected = True, False
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
                attempt.due = NEVER  # the limit is the handler's: it must not interrupt the answer
        except GeneratorExit:
            raise
        except Reject as error:
            failed, rejected = False, True
            self._counters.rejected += 1
            await self._settle.give_up(attempt, dead.Cause.REJECTED, str(error.message), dead.digest(error))
        except asyncio.CancelledError as error:
            return await self._failed(attempt, _cancelled(attempt, error))
        except BaseException as error:
            # Any exception is a failure of the handler: sys.exit() or a Rust panic must not end the worker.
            return await self._failed(attempt, error)
        else:
            failed = False
            await self._settle.answer(attempt, ACK)
            self._counters.processed += 1
            await self._settle.clear(attempt)
        finally:
            took = time.monotonic() - began
            if attempt.kind is _JOB:
                self._job_latency.record(took)
                self.backlog.took(took)
            else:
                self._event_latency.record(took)
            self._counters.ended(handler.name, attempt.tenant, took, failed=failed, rejected=rejected)
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
            await self._settle.give_up(attempt, dead.Cause.ERROR, reason, dead.digest(error))
            return None
        self._counters.retried += 1
        if not await self._settle.note(attempt, made.waiting(delay)):
            return delay
        await self._settle.retry(attempt, delay)
        return None


def _cancelled(attempt: Attempt, error: asyncio.CancelledError) -> BaseException:
    """Return the error of a handler that was cancelled.

    Raises:
        asyncio.CancelledError: if its worker cancelled it.
    """
    task = asyncio.current_task()
    if attempt.timed_out and not attempt.returned and task is not None:
        task.uncancel()
        return _late(attempt.handler).with_traceback(error.__traceback__)
    if task is not None and task.cancelling():
        raise error
    return error  # a cancellation of something else escaped from the handler: a failure like any other


def _late(handler: Handler) -> DeadlineExceeded:
    return DeadlineExceeded(f"{handler.name} took longer than {handler.timeout:g} s", remedy="")
