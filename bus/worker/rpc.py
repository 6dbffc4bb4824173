"""Serve calls: request and reply, with an in-flight limit, deadlines and error headers.

Workers of one version subscribe in one queue group, so nats-server gives each request to one of them. A worker at its
limit answers 503, first to the tenant with the most calls in hand (`admission`). A request whose deadline has passed is
not started, and a running one is cancelled. Errors are sent in the headers of NATS micro (ADR-32).

Calls that name a version come on a subject of their own (`subjects.direct_endpoint`). Only control and operators may
make them, and they do not count in what the release of a version is judged by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cached_property
from typing import Any, Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.client.ids import unique_id
from headway.bus.context import Context, WorkerScope, log_fields
from headway.bus.errors import (
    CallError,
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    HeadwayError,
    InvalidInput,
    InvalidSubject,
    NotServed,
    NotStored,
    Overloaded,
    Reject,
    Rejected,
    RemoteError,
    Unavailable,
    text_of,
)
from headway.bus.handlers import Handler, Kind
from headway.bus.nats.direct import Handle, leave, subscribe
from headway.bus.nats.refusals import translating
from headway.bus.service import Service
from headway.bus.wire import headers, subjects
from headway.bus.wire.beat import Counters
from headway.bus.wire.replies import error_headers
from headway.bus.worker.admission import Admission, Verdict
from headway.bus.worker.execute import execute
from headway.bus.worker.timeouts import NEVER, Timed, Timeouts

_FLUSH_TIMEOUT = 2.0
_RELEASE = 1.0
"""Seconds that cancelled handlers have to finish."""
PATIENCE: Final = 0.25
"""Seconds that a call may wait for the slot of a tenant with more calls."""

_SERVE: Final = Verdict.SERVE
"""Looked up once: on Python 3.11 access to enum members is slow."""

_log = logging.getLogger("headway.bus")


class Endpoint:
    """One operation and its statistics (ADR-32)."""

    __slots__ = ("direct", "errors", "handler", "invoke", "last_error", "nanoseconds", "requests", "subject")

    def __init__(self, handler: Handler, subject: str, direct: str, executor: Executor) -> None:
        self.handler = handler
        self.subject = subject
        self.direct = direct
        self.invoke = handler.bind(executor)
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.nanoseconds = 0


class _BadReply(Exception):  # its text is also sent to the caller: it names fields but contains no values
    """A reply does not have the declared type, or JSON cannot represent it."""


class Call(Timed):
    """One request being served."""

    __slots__ = ("began", "counters", "message", "tenant")

    def __init__(self, message: Msg, now: float, tenant: str, counters: Counters) -> None:
        self.due = NEVER  # not by super(): this runs for each request
        self.timed_out = False
        self.message = message
        self.began = now
        self.returned = False
        self.thread = None
        self.tenant = tenant
        self.counters = counters


class RpcServer:
    """Serves the calls of one worker.

    Args:
        scope: state that its handlers share.
        service: the service.
        counters: the worker's counters.
        executor: runs `def` handlers.
        stir: called when a call arrives and none is in flight.
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
        self._limit = service.max_inflight
        self._admission: Admission[tuple[Endpoint, Call]] = Admission(service.max_inflight)
        self._counters = counters
        self._aside = Counters()
        """Counts calls that name the version."""
        self._nc = scope.bus.nc
        self._outbox = scope.bus.outbox
        self._telemetry = scope.bus.telemetry
        self.queue_group = subjects.queue_group(service.name, scope.version)
        self.endpoints = [
            Endpoint(
                handler,
                subjects.rpc_endpoint(service.name, scope.version, name),
                subjects.direct_endpoint(service.name, scope.version, name),
                executor,
            )
            for name, handler in service.handlers_of(Kind.RPC).items()
        ]
        self._subscriptions: list[Subscription] = []
        self._running: set[Call] = set()
        self._refusals: set[asyncio.Task[None]] = set()
        self._timeouts = Timeouts(self._running)
        self._idle = asyncio.Event()
        self._idle.set()
        self._stir = stir

    @property
    def inflight(self) -> int:
        """Number of calls being served."""
        return len(self._running)

    @property
    def tenants(self) -> list[str]:
        """The tenant of each call being served."""
        return [call.tenant for call in self._running]

    @property
    def hung(self) -> int:
        """Number of calls that exceeded their timeout and are still running."""
        return sum(call.timed_out for call in self._running)

    def oldest(self, now: float) -> float:
        """Return the seconds that the oldest call in flight has taken so far."""
        return max((now - call.began for call in self._running), default=0.0)

    async def start(self) -> None:
        """Start accepting calls."""
        for endpoint in self.endpoints:
            for subject, counters in ((endpoint.subject, self._counters), (endpoint.direct, self._aside)):
                self._subscriptions.append(
                    await subscribe(self._nc, subject, self._taker(endpoint, counters), queue=self.queue_group)
                )

    async def stop(self) -> None:
        """Stop accepting calls, and return when those already sent to this worker have been accepted."""
        leaving, self._subscriptions = self._subscriptions, []
        if self._nc.is_closed:
            return
        try:
            with translating("the endpoints"):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    await leave(self._nc, *leaving)
        except (TimeoutError, HeadwayError):
            _log.warning("could not unsubscribe from calls; the server drops the subscriptions with the connection")

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()

    async def hand_back(self) -> None:
        """Answer all calls in flight with 503 at once, so that their callers can try another worker."""
        for call in list(self._running):
            call.returned = True
            if call.task is not None:
                call.task.cancel()
        try:
            async with asyncio.timeout(_RELEASE):
                await self._idle.wait()
        except TimeoutError:
            for call in list(self._running):  # handlers that ignore cancellation
                await self._refuse(call.message, Overloaded("the worker is shutting down", remedy=""))

    def _taker(self, endpoint: Endpoint, counters: Counters) -> Handle:
        arrive, serve = self._admission.arrive, self._start

        def take(message: Msg) -> None:
            endpoint.requests += 1
            # Without an inbox as reply subject it is not a call: it may be JetStream's acknowledgement of a job, for
            # which a client of another tenant has given this subject as reply subject.
            if not subjects.is_inbox(message.reply):
                counters.rejected += 1
                _log.warning("%s is refused: its reply subject %r is not an inbox", message.subject, message.reply)
                return
            try:
                tenant = subjects.rpc_tenant(message.subject)
            except InvalidSubject as error:
                counters.rejected += 1
                self._refuse_soon(endpoint, message, InvalidInput(error.message, remedy=error.remedy))
                return
            call = Call(message, time.monotonic(), tenant, counters)
            verdict = arrive(tenant, (endpoint, call))
            if verdict is _SERVE:
                serve(endpoint, call)
            elif verdict is Verdict.WAIT:
                asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience, endpoint, call)
            else:
                self._shed(endpoint, call)

        return take

    def _start(self, endpoint: Endpoint, call: Call) -> None:
        if not self._running:
            self._idle.clear()
            self._stir()
        self._running.add(call)
        # Not in a TaskGroup: `_running` holds the call with its task, `idle()` waits for it, and it never raises.
        call.task = self._loop.create_task(self._serve(endpoint, call))

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, cached as in `WorkRunner`."""
        return asyncio.get_running_loop()

    def _lose_patience(self, endpoint: Endpoint, call: Call) -> None:
        """Refuse a call that still waits."""
        if self._admission.withdraw(call.tenant, (endpoint, call)):
            self._shed(endpoint, call)

    def _shed(self, endpoint: Endpoint, call: Call) -> None:
        call.counters.shed += 1
        self._refuse_soon(endpoint, call.message, Overloaded(f"{self._limit} calls are in flight"))

    def _refuse_soon(self, endpoint: Endpoint, message: Msg, error: CallError) -> None:
        _count_error(endpoint, error)
        refusal = self._loop.create_task(self._refuse(message, error))
        self._refusals.add(refusal)
        refusal.add_done_callback(self._refusals.discard)

    async def _serve(self, endpoint: Endpoint, call: Call) -> None:
        message, failed, rejected = call.message, True, False
        try:
            payload = await self._run(endpoint, call)
            if not self._outbox.offer(message.reply, payload):
                await self._respond(call, payload)
            call.counters.processed += 1
            failed = False
        except (CallError, Conflict) as error:
            failed = not isinstance(error, (InvalidInput, Rejected, Conflict))
            rejected = isinstance(error, (InvalidInput, Rejected))
            _count_error(endpoint, error)
            await self._refuse(message, error)
        except asyncio.CancelledError:
            if call.returned:
                await self._refuse(message, Overloaded("the worker is shutting down", remedy=""))
        except Exception:
            _log.exception("%s was not answered", message.subject)
        finally:
            if call.thread is not None and not call.thread.done() and not call.returned:
                # Answered, but its thread is still running: it occupies a slot and counts as hung until it ends.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({call.thread})
            self._running.discard(call)
            following = self._admission.leave(call.tenant)
            if following is not None:
                self._start(*following)
            if not self._running:
                self._idle.set()
            took = time.monotonic() - call.began
            endpoint.nanoseconds += int(took * 1e9)
            call.counters.latency["rpc"].record(took)
            if not call.returned:
                call.counters.ended(endpoint.handler.name, call.tenant, took, failed=failed, rejected=rejected)

    async def _run(self, endpoint: Endpoint, call: Call) -> bytes:
        """Run the handler for one request.

        Raises:
            CallError, Conflict: the error to send to the caller.
        """
        handler, message = endpoint.handler, call.message
        value, context = self._open(handler, call)
        try:
            if self._telemetry is None:
                result = await execute(call, handler, endpoint.invoke, value, context)
            else:
                with self._telemetry.processing(
                    "rpc", self._scope.service, self._scope.version, handler.name, context.tenant, message.headers, 1
                ):
                    result = await execute(call, handler, endpoint.invoke, value, context)
            return self._reply(handler, result)
        except GeneratorExit:
            raise
        except BaseException as error:
            # Any exception is a failure of the handler: sys.exit() or a Rust panic must not end the worker.
            raise self._told(call, context, error) from error
        finally:
            call.due = NEVER

    def _open(self, handler: Handler, call: Call) -> tuple[Any, Context]:
        """Read a request and set its time limit.

        Raises:
            DeadlineExceeded: if its caller no longer waits.
            InvalidInput: if it is invalid.
        """
        message, timeout = call.message, handler.timeout
        asked = headers.timeout_of(message.headers)
        if asked is not None and asked < timeout:
            timeout = asked
        until = call.began + timeout
        if until <= time.monotonic():
            raise DeadlineExceeded("the deadline had passed before the worker could start it", remedy="")
        try:
            value = handler.input.decode(message.data)
        except InvalidInput:
            call.counters.rejected += 1
            raise
        context = Context(self._scope, call.tenant, handler.name, message.headers, 1, until, message=message)
        self._timeouts.limit(call, until)
        return value, context

    def _told(self, call: Call, context: Context, error: BaseException) -> CallError | Conflict:
        """Return the error to send to the caller for an exception of a handler.

        Raises:
            asyncio.CancelledError: if its worker cancelled it.
        """
        if isinstance(error, Reject):
            call.counters.rejected += 1
            return Rejected(error.message, remedy=error.remedy)
        if isinstance(error, (Conflict, DeadlineExceeded, Overloaded, Unavailable)):
            # Raised by the handler or by a service it called: the caller can retry in both cases. After a conflict, a
            # page retries with the newer object.
            call.counters.failed += 1
            return type(error)(error.message, remedy="")
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if call.timed_out and task is not None:
                task.uncancel()
                call.counters.failed += 1
                return DeadlineExceeded(f"not done within {time.monotonic() - call.began:.3f} s", remedy="")
            if task is not None and task.cancelling():
                raise error
            # A cancellation of something else escaped from the handler: a failure like any other.
        return self._failed(call, context, error)

    def _reply(self, handler: Handler, result: Any) -> bytes:
        try:
            return handler.output.encode(result)
        except InvalidInput as error:
            raise _BadReply(f"{handler.name} does not return its declared type: {error}") from error

    def _failed(self, call: Call, context: Context, error: BaseException) -> CallError:
        """Log an error and give the caller only its id: its text may contain another tenant's secrets."""
        call.counters.failed += 1
        if isinstance(error, (ConnectionFailed, NotServed, NotStored)):
            # The handler is not to blame for an unreachable server or worker: the caller can retry.
            _log.warning("%s is unavailable: %s", context.operation, error, extra={"headway": log_fields(context)})
            return Unavailable(f"a dependency of {context.operation} does not answer")
        error_id = unique_id()
        known = {**log_fields(context), "error_id": error_id, "cause": text_of(error)}
        _log.error("%s failed", context.operation, exc_info=error, extra={"headway": known})
        failed = RemoteError(text_of(error) if isinstance(error, _BadReply) else "the handler failed", remedy="")
        failed.error_id = error_id
        return failed

    async def _respond(self, call: Call, payload: bytes) -> None:
        message = call.message
        try:
            with translating("a reply"):
                await self._nc.publish(message.reply, payload)
        except InvalidInput as error:
            call.counters.failed += 1
            largest = self._nc.max_payload
            raise RemoteError(
                f"the reply has {len(payload)} bytes, the server's limit is {largest}: "
                "return it in parts, or store it as a blob and return its name",
                remedy="",
            ) from error
        except HeadwayError as error:
            _log.warning("%s was not answered: %s", message.subject, error)

    async def _refuse(self, message: Msg, error: HeadwayError) -> None:
        try:
            with translating("a reply"):
                await self._nc.publish(message.reply, b"", headers=error_headers(error))
        except HeadwayError as failure:
            _log.warning("%s was not answered: %s", message.subject, failure)


def _count_error(endpoint: Endpoint, error: HeadwayError) -> None:
    endpoint.errors += 1
    endpoint.last_error = f"{error.status}:{error.message}"
