"""What a connection to the bus does: `call`, `submit`, `emit`. `connect()` (bus/client/connection.py) makes one.

Calls are core NATS requests: fast, answered or failed at once. Jobs and events are stored by JetStream before
`submit` and `emit` return; those ride through restarts and cut connections by repeating the message under
the same id, which the server stores once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import nats.aio.client
import orjson
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from headway.bus.client.blobs import Blobs
from headway.bus.client.ids import unique_id
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
"""Seconds one publish waits for its acknowledgement before it is repeated."""
_TRY_DELAY = 0.05
_SURELY_ENOUGH = 1 << 17
"""Bytes of room beside a payload that no headers need."""

_log = logging.getLogger("headway.bus")


@dataclass(frozen=True, slots=True)
class Receipt:
    """JetStream's word that a message is stored.

    Attributes:
        stream: where.
        seq: under which sequence.
        duplicate: whether it had been stored before under the same key.
    """

    stream: str
    seq: int
    duplicate: bool


class Bus:
    """A connection to the bus. Get one from `connect()`; use it as an async context manager or `close()` it.

    Attributes:
        nc: the NATS connection.
        js: its JetStream context.
        telemetry: the OpenTelemetry instruments, None while OpenTelemetry is off.
        outbox: answers to what the server delivered.
        again: makes another connection like this one; None if it was not made by `connect()`.
        object_rates: how many objects each tenant may write over this connection.
    """

    def __init__(self, nc: nats.aio.client.Client) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=_TRY)
        self.telemetry = telemetry.instruments()
        self.outbox = Outbox(nc)
        self.object_rates = Rates(RATE, BURST)
        self.closed = asyncio.Event()
        self.again: Callable[[], Awaitable[Bus]] | None = None
        self._up = asyncio.Event()
        # Weak: a worker that was dropped without stopping must not be kept alive by its connection.
        self._on_reconnect: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Flush what is buffered and close the connection. Safe to call twice."""
        if self.nc.is_closed:
            return
        if self.nc.is_connected and not await self.flush():
            _log.warning("closed the connection with messages that could not be flushed")
        if not self.nc.is_connected:
            # What is buffered cannot be sent any more; nats-py would try, fail, and leave its tasks behind.
            internals.drop_buffered(self.nc)
        await self.nc.close()

    async def flush(self, timeout: float = _TRY) -> bool:
        """Wait until the server has all that was published; False if it does not say so in time."""
        try:
            with translating("the server"):
                async with asyncio.timeout(timeout):
                    # nats-py sends its PING ahead of what is still buffered, so the second answer is what counts.
                    await self.nc.flush()
                    await self.nc.flush()
        except (TimeoutError, HeadwayError):
            return False
        return True

    def tenant(self, tenant: str) -> Tenant:
        """A handle that speaks for one tenant.

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
            service: who serves it.
            operation: what to do.
            request: a model, a dataclass or plain JSON types.
            tenant: for whom.
            returns: the reply's type; None gives plain JSON types.
            timeout: seconds to wait; the worker is told, and stops work nobody waits for.

        Raises:
            InvalidSubject: if a name breaks the grammar.
            CallError: one of its kinds, when no result came.
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
    ) -> Receipt:
        """Submit a durable job; returns once it is stored.

        Args:
            service: who does it.
            operation: what to do.
            request: a model, a dataclass or plain JSON types.
            tenant: for whom.
            key: idempotency key, any text of 1 to 255 characters: of all submissions with the same tenant,
                operation and key within the stream's window (two minutes) one is stored.
            timeout: seconds to go on trying.

        Raises:
            InvalidSubject: if a name breaks the grammar, or the key is empty or too long.
            InvalidInput: if the request has no faithful JSON form, or is larger than the server takes.
            QueueFull: if a bound of the queue is reached; nothing was stored.
            NotServed: if no version of the service takes jobs; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        subject = subjects.job(service, tenant, operation)
        return await self.store_value(subject, request, f"{tenant}.{operation}", key, timeout, None)

    async def emit(
        self, event_type: str, event: Any, *, tenant: str, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """Publish an event to all services that subscribe to its type; returns once it is stored.

        Args:
            event_type: the type, such as `call.ended`.
            event: a model, a dataclass or plain JSON types.
            tenant: whose event.
            key: idempotency key, as for `submit`.
            timeout: seconds to go on trying.

        Raises:
            InvalidSubject, InvalidInput: as `submit`.
            QueueFull: if a bound of the stream is reached; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        subject = subjects.event(tenant, event_type)
        return await self.store_value(subject, event, f"{tenant}.{event_type}", key, timeout, None)

    def on_reconnect(self, listener: Any) -> None:
        """Call `listener.reconnected()` after each reconnect, as long as the listener lives."""
        self._on_reconnect.add(listener)

    async def publish(self, subject: str, payload: bytes, message_headers: dict[str, str] | None = None) -> None:
        """Publish without asking for an acknowledgement.

        Raises:
            InvalidInput: if the payload is larger than the server takes.
            ConnectionFailed: if the connection is closed, or cut for so long that its buffer is full.
        """
        with translating(subject):
            await self.nc.publish(subject, payload, headers=message_headers)

    async def request(
        self, subject: str, payload: bytes, timeout: float, message_headers: dict[str, str], *, tell: bool = False
    ) -> Msg:
        """Send a request and wait for the first reply, whatever it is.

        It is sent over a live connection only: what waited in a buffer would arrive when nobody waits for it any more.

        Args:
            subject: where to.
            payload: what.
            timeout: seconds to wait.
            message_headers: sent along.
            tell: add to the headers how long the answer is waited for.

        Raises:
            NotServed: if nobody listens there.
            DeadlineExceeded: without a reply in time.
            InvalidInput: if the payload is larger than the server takes.
            ConnectionFailed: if the connection is closed.
        """
        room = self.nc.max_payload - len(payload)
        if room < _SURELY_ENOUGH and headers.size(message_headers) > room:
            # nats-py leaves the headers out of its own check, and the server would cut the connection.
            raise InvalidInput(
                f"{subject}: {len(payload)} bytes and headers are more than the server's {self.nc.max_payload}",
                remedy="store large data as a blob and send its name",
            )
        if timeout <= 0:
            raise DeadlineExceeded(f"{subject}: no time was left to send it")
        try:
            left = timeout if self.nc.is_connected else await self._connected(subject, timeout)
            if tell:
                message_headers[headers.TIMEOUT] = headers.timeout_value(left)
            with translating(subject):
                return await self.nc.request(subject, payload, timeout=left, headers=message_headers)
        except TimeoutError as error:
            why = "no answer in time" if self.nc.is_connected else "the connection is cut"
            raise DeadlineExceeded(f"{subject}: {why}") from error

    async def _connected(self, subject: str, timeout: float) -> float:
        """Wait until the connection is there, or closed for good; return the seconds that are left.

        Raises:
            DeadlineExceeded: if it stays cut.
        """
        until = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                while not (self.nc.is_connected or self.nc.is_closed):
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{subject}: the connection is cut") from error
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
        """Call an operation, with trace headers of the caller's. Raises as `call`."""
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
        self, subject: str, value: Any, scope: str, key: str | None, timeout: float, trace: dict[str, str] | None
    ) -> Receipt:
        """Encode a value and store it.

        Args:
            subject: where to.
            value: a model, a dataclass or plain JSON types.
            scope: within which the key names one message.
            key: idempotency key; None stores it in any case.
            timeout: seconds to go on trying.
            trace: trace headers of the caller's.

        Raises:
            InvalidSubject, InvalidInput, QueueFull, NotServed, NotStored: as `submit`.
        """
        message_id = f"{scope}.{subjects.key_token(key)}" if key is not None else unique_id()
        sent = {headers.MESSAGE_ID: message_id, **(trace or {})}
        payload = encode(value)
        if self.telemetry is None:
            return await self.store(subject, payload, sent, timeout)
        with self.telemetry.publishing(subject, sent, len(payload)):
            return await self.store(subject, payload, sent, timeout)

    async def store(
        self, subject: str, payload: bytes, sent: dict[str, str], timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """Publish into JetStream, repeating under the same message id until acknowledged or out of time.

        Raises:
            QueueFull, NotServed, NotStored, StoreError: as `submit` does.
        """
        deadline = time.monotonic() + timeout
        delay = _TRY_DELAY
        while True:
            try:
                reply = await self.request(subject, payload, min(deadline - time.monotonic(), _TRY), sent)
                return _receipt(subject, reply)
            except NotServed:
                # While a stream has no leader, or the server is starting, nobody answers for it either.
                if time.monotonic() + delay >= deadline:
                    raise
            except (DeadlineExceeded, ConnectionFailed, NotStored) as error:
                if self.nc.is_closed or time.monotonic() + delay >= deadline:
                    raise NotStored(f"{subject}: not acknowledged in {timeout:g} s: {error.message}") from error
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, 1.0)

    def reconnected(self) -> None:
        """Note that the connection came back, and tell the listeners."""
        self._up.set()
        _log.info("connected again to %s", self.nc.connected_url.netloc if self.nc.connected_url else "?")
        for listener in list(self._on_reconnect):
            listener.reconnected()

    def lost(self) -> None:
        """Note that the connection is closed for good."""
        self.closed.set()
        self._up.set()


class Tenant:
    """Speaks for one tenant: `call`, `submit`, `emit`, `objects` and `blobs` without naming it each time."""

    __slots__ = ("bus", "tenant")

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant

    @property
    def objects(self) -> Objects:
        """The tenant's objects: last value per id, pushed to browsers."""
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
        """As `Bus.call`. Inside a handler, the caller's own deadline also bounds it."""
        left = self._left()
        if left is not None and left < timeout:
            timeout = left
        return await self.bus.call_as(self.tenant, service, operation, request, returns, timeout, self._trace())

    async def submit(
        self, service: str, operation: str, request: Any, *, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """As `Bus.submit`."""
        subject = subjects.job(service, self.tenant, operation)
        return await self.bus.store_value(subject, request, f"{self.tenant}.{operation}", key, timeout, self._trace())

    async def emit(
        self, event_type: str, event: Any, *, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """As `Bus.emit`."""
        subject = subjects.event(self.tenant, event_type)
        return await self.bus.store_value(subject, event, f"{self.tenant}.{event_type}", key, timeout, self._trace())

    def _trace(self) -> dict[str, str] | None:
        return None

    def _left(self) -> float | None:
        """Seconds that whoever is waited for has left; None if that is not known."""
        return None


def _receipt(subject: str, reply: Msg) -> Receipt:
    try:
        answer = orjson.loads(reply.data)
    except orjson.JSONDecodeError as invalid:
        raise StoreError(f"{subject}: answered by something that is not JetStream") from invalid
    error = answer.get("error")
    if error is None and "stream" in answer:
        return Receipt(answer["stream"], answer["seq"], answer.get("duplicate", False))
    if error is None:
        raise StoreError(f"{subject}: no acknowledgement of JetStream")
    refused = refusal(subject, error)
    if error.get("code") == UNAVAILABLE and not isinstance(refused, QueueFull):
        raise NotServed(refused.message)
    raise refused
