"""A connection to the bus: `call`, `submit`, `emit`. `connect()` (bus/client/connection.py) opens one.

Calls are core NATS requests: fast, and answered or failed at once. JetStream stores jobs and events before `submit`
and `emit` return. These survive restarts and lost connections by repeating the message under the same id, which the
server stores once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import nats.aio.client
import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from headway.bus.client import later
from headway.bus.client.blobs import Blobs
from headway.bus.client.ids import MessageIds, unique_id
from headway.bus.client.limits import Rates
from headway.bus.client.objects import BURST, RATE, Objects
from headway.bus.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    HeadwayError,
    InvalidInput,
    NotServed,
    NotStored,
    QueueFull,
    StoreError,
    UsageError,
)
from headway.bus.nats import internals
from headway.bus.nats.outbox import Outbox
from headway.bus.nats.refusals import UNAVAILABLE, refusal, translating
from headway.bus.telemetry import otel as telemetry
from headway.bus.wire import headers, subjects
from headway.bus.wire.codec import codec_for, encode
from headway.bus.wire.replies import raise_remote

T = TypeVar("T")

CALL_TIMEOUT = 1.0
STORE_TIMEOUT = 5.0

_TRY = 2.0
"""Seconds to wait for the acknowledgement of a publish before repeating it."""
_TRY_DELAY = 0.05
_SURELY_ENOUGH = 1 << 17
"""With this many bytes left beside the payload, headers always fit."""

_log = logging.getLogger("headway.bus")


@dataclass(frozen=True, slots=True)
class Receipt:
    """JetStream's confirmation that a message is stored.

    Attributes:
        stream: the stream that stores it.
        seq: its sequence in the stream.
        duplicate: whether a message with the same key was already stored.
    """

    stream: str
    seq: int
    duplicate: bool


class Bus:
    """A connection to the bus, opened by `connect()`. Use it as an async context manager or `close()` it.

    Attributes:
        nc: the NATS connection.
        js: its JetStream context.
        telemetry: the OpenTelemetry instruments, None while OpenTelemetry is off.
        outbox: batches acknowledgements and replies.
        ids: makes message ids.
        again: opens another connection with the same settings; None if `connect()` did not open this one.
        object_rates: write rates of objects, by tenant.
        issuers: public keys whose proofs of users are trusted.
        seal: the secret in the subjects that belong to a worker's service alone; "" if the connection is no worker's.
    """

    def __init__(self, nc: nats.aio.client.Client, ids: MessageIds | None = None) -> None:
        self.nc = nc
        self.ids = ids or MessageIds()
        self.js: JetStreamContext = nc.jetstream(timeout=_TRY)
        self.telemetry = telemetry.instruments()
        self.outbox = Outbox(nc)
        self.object_rates = Rates(RATE, BURST)
        self.issuers: frozenset[str] = frozenset()
        self.closed = asyncio.Event()
        self.again: Callable[[], Awaitable[Bus]] | None = None
        self.seal = ""
        self._records: Bus | None = None
        self._up = asyncio.Event()
        # Weak: the connection must not keep a worker alive that was dropped without being stopped.
        self._on_reconnect: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def records(self) -> Bus:
        """The connection to control's account: the control records and the console.

        Raises:
            UsageError: if the credentials have no user there.
        """
        if self._records is None:
            raise UsageError(
                "these credentials do not reach the control records",
                remedy="use those of the role operator; if they are, have them made again with this version of Headway",
            )
        return self._records

    def attach(self, records: Bus) -> None:
        """Add the connection to control's account, which from now on is closed with this one."""
        self._records = records

    async def close(self) -> None:
        """Flush buffered messages and close the connection. Safe to call twice."""
        if self._records is not None:
            await self._records.close()
        if self.nc.is_closed:
            return
        if self.nc.is_connected and not await self.flush():
            _log.warning("closed the connection with messages that could not be flushed")
        if not self.nc.is_connected:
            # Buffered messages can no longer be sent; nats-py would try, fail, and leave its tasks running.
            internals.drop_buffered(self.nc)
        await self.nc.close()

    async def flush(self, timeout: float = _TRY) -> bool:
        """Wait until the server has received everything published; return False if it does not confirm in time."""
        try:
            with translating("the server"):
                async with asyncio.timeout(timeout):
                    # nats-py sends its PING before the buffered messages, so only the second answer confirms them.
                    await self.nc.flush()
                    await self.nc.flush()
        except (TimeoutError, HeadwayError):
            return False
        return True

    def tenant(self, tenant: str) -> Tenant:
        """Return a handle that acts for one tenant.

        Raises:
            InvalidSubject: if the name breaks the grammar.
        """
        return Tenant(self, subjects.token(tenant, "tenant"))

    @overload
    async def call(
        self, service: str, operation: str, request: Any, *, tenant: str, returns: type[T], timeout: float = ...
    ) -> T: ...
    @overload
    async def call(
        self, service: str, operation: str, request: Any, *, tenant: str, returns: None = None, timeout: float = ...
    ) -> Any: ...
    async def call(
        self,
        service: str,
        operation: str,
        request: Any,
        *,
        tenant: str,
        returns: Any = None,
        timeout: float = CALL_TIMEOUT,
    ) -> Any:
        """Call an operation and wait for its reply.

        Args:
            service: name of the service.
            operation: name of the operation.
            request: a model, a dataclass or plain JSON types.
            tenant: the tenant to call for.
            returns: the reply's type; None gives plain JSON types.
            timeout: seconds to wait; it is sent to the worker, which stops when the time is over.

        Raises:
            InvalidSubject: if a name breaks the grammar.
            CallError: one of its kinds, if there is no result.
            ConnectionFailed: if there is no connection.
        """
        return await self.call_as(tenant, service, operation, request, returns, timeout, None)

    async def submit(
        self,
        service: str,
        operation: str,
        request: Any,
        *,
        tenant: str,
        key: str | None = None,
        timeout: float = STORE_TIMEOUT,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Submit a durable job and return once it is stored.

        Args:
            service: name of the service.
            operation: name of the operation.
            request: a model, a dataclass or plain JSON types.
            tenant: the tenant to submit for.
            key: idempotency key, any text of 1 to 255 characters. Of all submissions with the same tenant,
                operation and key within the stream's window (two minutes), only one is stored.
            timeout: seconds to keep trying.
            delay: seconds until the job is due. It is stored now, and queued when it is due, for the version that
                serves then.
            at: when the job is due, instead of `delay`; a time with a time zone. A past time is due at once.

        Raises:
            InvalidSubject: if a name breaks the grammar, or the key is empty or too long.
            InvalidInput: if JSON cannot represent the request, it is larger than the server accepts, or the due time
                is invalid or more than a year away.
            QueueFull: if a bound of the queue is reached; nothing was stored.
            NotServed: if no version of the service accepts jobs; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        if delay is not None or at is not None:
            job = later.schedule(service, tenant, operation, delay, at)
            return await self.store_value(job.subject, request, job.scope, key, timeout, job.fields)
        subject = subjects.job(service, tenant, operation)
        return await self.store_value(subject, request, (tenant, operation), key, timeout, None)

    async def emit(
        self, event_type: str, event: Any, *, tenant: str, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """Publish an event to all services that subscribe to its type, and return once it is stored.

        Args:
            event_type: the type, such as `call.ended`.
            event: a model, a dataclass or plain JSON types.
            tenant: the tenant that the event belongs to.
            key: idempotency key, as for `submit`.
            timeout: seconds to keep trying.

        Raises:
            InvalidSubject, InvalidInput: as `submit`.
            TooLarge: if it is larger than an event may be (32 KiB); nothing was stored.
            QueueFull: if a bound of the stream is reached; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        subject = subjects.event(tenant, event_type)
        return await self.store_value(subject, event, (tenant, event_type), key, timeout, None)

    def on_reconnect(self, listener: Any) -> None:
        """Call `listener.reconnected()` after each reconnect, as long as the listener lives."""
        self._on_reconnect.add(listener)

    async def publish(self, subject: str, payload: bytes, message_headers: dict[str, str] | None = None) -> None:
        """Publish without asking for an acknowledgement.

        Raises:
            InvalidInput: if the payload is larger than the server accepts.
            ConnectionFailed: if the connection is closed, or interrupted for so long that its buffer is full.
        """
        with translating(subject):
            await self.nc.publish(subject, payload, headers=message_headers)

    async def request(
        self, subject: str, payload: bytes, timeout: float, message_headers: dict[str, str], *, tell: bool = False
    ) -> Msg:
        """Send a request and return the first reply, without interpreting it.

        It is sent only while connected: a buffered request could arrive after its caller has stopped waiting.

        Args:
            subject: subject of the request.
            payload: its payload.
            timeout: seconds to wait.
            message_headers: its headers.
            tell: whether to add the timeout to the headers.

        Raises:
            NotServed: if there is no subscriber.
            DeadlineExceeded: without a reply in time.
            InvalidInput: if payload and headers are larger than the server accepts.
            ConnectionFailed: if the connection is closed.
        """
        room = self.nc.max_payload - len(payload)
        if room < _SURELY_ENOUGH and headers.size(message_headers) > room:
            # nats-py does not count the headers in its own check, and the server would close the connection.
            raise InvalidInput(
                f"{subject}: {len(payload)} bytes plus headers exceed the server's limit of {self.nc.max_payload}",
                remedy="store large data as a blob and send its name",
            )
        if timeout <= 0:
            raise DeadlineExceeded(f"{subject}: no time left to send the request")
        try:
            left = timeout if self.nc.is_connected else await self._connected(subject, timeout)
            if tell:
                message_headers[headers.TIMEOUT] = headers.timeout_value(left)
            with translating(subject):
                return await self.nc.request(subject, payload, timeout=left, headers=message_headers)
        except TimeoutError as error:
            why = "no answer in time" if self.nc.is_connected else "the connection is lost"
            raise DeadlineExceeded(f"{subject}: {why}") from error

    async def _connected(self, subject: str, timeout: float) -> float:
        """Wait until the connection is restored or closed for good; return the seconds that are left.

        Raises:
            DeadlineExceeded: if it is not restored in time.
        """
        until = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                while not (self.nc.is_connected or self.nc.is_closed):
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{subject}: the connection is lost") from error
        return max(0.001, until - time.monotonic())

    async def call_as(
        self,
        tenant: str,
        service: str,
        operation: str,
        request: Any,
        returns: Any,
        timeout: float,
        trace: dict[str, str] | None,
    ) -> Any:
        """Call an operation with the caller's trace headers. Raises as `call`."""
        subject = subjects.rpc(service, tenant, operation)
        sent = dict(trace or {})
        payload = encode(request)
        if self.telemetry is None:
            reply = await self.request(subject, payload, timeout, sent, tell=True)
            raise_remote(subject, reply.headers)
        else:
            with self.telemetry.calling(service, operation, tenant, sent):
                reply = await self.request(subject, payload, timeout, sent, tell=True)
                raise_remote(subject, reply.headers)
        if returns is None:
            return orjson.loads(reply.data or b"null")
        return codec_for(returns).decode(reply.data)

    async def store_value(
        self,
        subject: str,
        value: Any,
        scope: tuple[str, str],
        key: str | None,
        timeout: float,
        trace: dict[str, str] | None,
    ) -> Receipt:
        """Encode a value and store it.

        Args:
            subject: subject of the message.
            value: a model, a dataclass or plain JSON types.
            scope: namespace of the key: the tenant, and the operation or event type.
            key: idempotency key; None stores it unconditionally.
            timeout: seconds to keep trying.
            trace: further headers, such as those of the caller's trace.

        Raises:
            InvalidSubject, InvalidInput, QueueFull, NotServed, NotStored: as `submit`.
        """
        message_id = self.ids.keyed(*scope, subjects.key_token(key)) if key is not None else unique_id()
        sent = {headers.MESSAGE_ID: message_id, **(trace or {})}
        payload = encode(value)
        if self.telemetry is None:
            return await self.store(subject, payload, sent, timeout)
        with self.telemetry.publishing(subject, sent, len(payload)):
            return await self.store(subject, payload, sent, timeout)

    async def store(
        self, subject: str, payload: bytes, sent: dict[str, str], timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """Publish to JetStream, repeating under the same message id until acknowledged or out of time.

        Raises:
            QueueFull, NotServed, NotStored, StoreError: as `submit`.
        """
        deadline = time.monotonic() + timeout
        delay = _TRY_DELAY
        while True:
            try:
                reply = await self.request(subject, payload, min(deadline - time.monotonic(), _TRY), sent)
                return _receipt(subject, reply)
            except NotServed:
                # There are no responders either while a stream has no leader or the server is starting.
                if time.monotonic() + delay >= deadline:
                    raise
            except (DeadlineExceeded, ConnectionFailed, NotStored) as error:
                if self.nc.is_closed or time.monotonic() + delay >= deadline:
                    raise NotStored(f"{subject}: not acknowledged in {timeout:g} s: {error.message}") from error
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, 1.0)

    def reconnected(self) -> None:
        """Record that the connection is restored, and notify the listeners."""
        self._up.set()
        _log.info("connected again to %s", self.nc.connected_url.netloc if self.nc.connected_url else "?")
        for listener in list(self._on_reconnect):
            listener.reconnected()

    def lost(self) -> None:
        """Record that the connection is closed for good."""
        self.closed.set()
        self._up.set()


class Tenant:
    """Acts for one tenant: `call`, `submit`, `emit`, `objects` and `blobs` without naming it each time."""

    __slots__ = ("bus", "tenant")

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant

    @property
    def objects(self) -> Objects:
        """The tenant's objects: the last value per id, pushed to browsers."""
        return Objects(self.bus.js, self.tenant, self.bus.object_rates)

    @property
    def blobs(self) -> Blobs:
        """The tenant's documents and recordings."""
        return Blobs(self.bus.js, self.tenant)

    @overload
    async def call(
        self, service: str, operation: str, request: Any, *, returns: type[T], timeout: float = ...
    ) -> T: ...
    @overload
    async def call(
        self, service: str, operation: str, request: Any, *, returns: None = None, timeout: float = ...
    ) -> Any: ...
    async def call(
        self, service: str, operation: str, request: Any, *, returns: Any = None, timeout: float = CALL_TIMEOUT
    ) -> Any:
        """Call an operation as `Bus.call` does. In a handler, the timeout ends at the handler's own deadline."""
        left = self._left()
        if left is not None and left < timeout:
            timeout = left
        return await self.bus.call_as(self.tenant, service, operation, request, returns, timeout, self._trace())

    async def submit(
        self,
        service: str,
        operation: str,
        request: Any,
        *,
        key: str | None = None,
        timeout: float = STORE_TIMEOUT,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Submit a job as `Bus.submit` does."""
        if delay is not None or at is not None:
            job = later.schedule(service, self.tenant, operation, delay, at)
            fields = {**(self._trace() or {}), **job.fields}
            return await self.bus.store_value(job.subject, request, job.scope, key, timeout, fields)
        subject = subjects.job(service, self.tenant, operation)
        return await self.bus.store_value(subject, request, (self.tenant, operation), key, timeout, self._trace())

    async def emit(
        self, event_type: str, event: Any, *, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """Publish an event as `Bus.emit` does."""
        subject = subjects.event(self.tenant, event_type)
        return await self.bus.store_value(subject, event, (self.tenant, event_type), key, timeout, self._trace())

    def _trace(self) -> dict[str, str] | None:
        return None

    def _left(self) -> float | None:
        """Return the seconds until the handler's deadline; None outside a handler."""
        return None


def _receipt(subject: str, reply: Msg) -> Receipt:
    try:
        answer = orjson.loads(reply.data)
    except orjson.JSONDecodeError as invalid:
        raise StoreError(f"{subject}: the answer is not from JetStream") from invalid
    error = answer.get("error")
    if error is None and "stream" in answer:
        return Receipt(answer["stream"], answer["seq"], answer.get("duplicate", False))
    if error is None:
        raise StoreError(f"{subject}: the answer is not an acknowledgement of JetStream")
    refused = refusal(subject, error)
    if error.get("code") == UNAVAILABLE and not isinstance(refused, QueueFull):
        raise NotServed(refused.message)
    raise refused
