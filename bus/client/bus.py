"""The connection to the bus: `connect()`, `call`, `submit`, `emit`.

Calls are core NATS requests: fast, answered or failed at once. Jobs and events are stored by JetStream before
`submit` and `emit` return; those ride through restarts and cut connections by repeating the message under
the same id, which the server stores once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import nats.aio.client
import nats.errors
import nats.js.errors
import nkeys
import orjson
from nats.aio.client import Server
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.nuid import NUID

from headway.bus import tasks
from headway.bus.client.blobs import Blobs
from headway.bus.client.limits import Rates
from headway.bus.client.objects import BURST, RATE, Objects
from headway.bus.errors import (
    CallError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidInput,
    NotServed,
    NotStored,
    Overloaded,
    QueueFull,
    Rejected,
    RemoteError,
    StoreError,
    Unavailable,
    UsageError,
)
from headway.bus.nats.outbox import Outbox
from headway.bus.telemetry import otel as telemetry
from headway.bus.wire import headers, subjects
from headway.bus.wire.codec import codec_for, encode

T = TypeVar("T")

DEFAULT_URL = "nats://127.0.0.1:4222"
CALL_TIMEOUT = 1.0
STORE_TIMEOUT = 5.0
CONNECT_TIMEOUT = 5.0

_TRY = 2.0
"""Seconds one publish waits for its acknowledgement before it is repeated."""
_TRY_DELAY = 0.05
_RECONNECT_DELAY = 0.05
_RECONNECT_DELAY_MAX = 2.0
_PING = 3
"""Seconds between two looks whether the server still answers. One that is frozen or cut off is left after three."""
_PENDING_BYTES = 8 << 20
_SUBSCRIPTION_MESSAGES = 1 << 20
_FULL = frozenset({10077, 10047, 10023})  # maximum per subject / bytes / messages: nats-server errors.json
_IN_PROCESS = 10158  # the same message is being replicated

_log = logging.getLogger("headway.bus")
_nuid = NUID()
_by_code: dict[str, type[CallError]] = {
    kind.code: kind
    for kind in (CallError, NotServed, InvalidInput, Rejected, Overloaded, Unavailable, DeadlineExceeded, RemoteError)
}


def _reseed() -> None:
    """A forked process must not go on with its parent's sequence of ids: two workers would give out the same ones."""
    global _nuid  # noqa: PLW0603  # the module's only state
    _nuid = NUID()


os.register_at_fork(after_in_child=_reseed)


def unique_id() -> str:
    """A fresh id of 22 letters and digits."""
    return str(_nuid.next().decode())


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
        object_rates: how many objects each tenant may write over this connection.
    """

    def __init__(self, nc: nats.aio.client.Client) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=_TRY)
        self.telemetry = telemetry.instruments()
        self.outbox = Outbox(nc)
        self.object_rates = Rates(RATE, BURST)
        self.closed = asyncio.Event()
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
            self.nc._pending, self.nc._pending_data_size = [], 0
        await self.nc.close()

    async def flush(self, timeout: float = _TRY) -> bool:
        """Wait until the server has all that was published; False if it does not say so in time."""
        try:
            async with asyncio.timeout(timeout):
                # nats-py sends its PING ahead of what is still buffered, so the second answer is the one that counts.
                await self.nc.flush()
                await self.nc.flush()
        except (TimeoutError, nats.errors.Error):
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
        return await self._call(service, operation, request, tenant, returns, time.time() + timeout, None)

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
            key: idempotency key: of all submissions with the same tenant, operation and key within the
                stream's window (two minutes) one is stored.
            timeout: seconds to go on trying.

        Raises:
            InvalidSubject: if a name breaks the grammar.
            QueueFull: if a bound of the queue is reached; nothing was stored.
            NotServed: if no version of the service takes jobs; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        subject = subjects.job(service, tenant, operation)
        return await self._store(subject, request, f"{tenant}.{operation}", key, timeout, None)

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
            InvalidSubject: if a name breaks the grammar.
            QueueFull: if a bound of the stream is reached; nothing was stored.
            NotStored: without an acknowledgement in time; repeat with the same key.
        """
        subject = subjects.event(tenant, event_type)
        return await self._store(subject, event, f"{tenant}.{event_type}", key, timeout, None)

    def on_reconnect(self, listener: Any) -> None:
        """Call `listener.reconnected()` after each reconnect, as long as the listener lives."""
        self._on_reconnect.add(listener)

    async def publish(self, subject: str, payload: bytes, message_headers: dict[str, str] | None = None) -> None:
        """Publish without asking for an acknowledgement.

        Raises:
            ConnectionFailed: if the connection is closed, or cut for so long that its buffer is full.
        """
        try:
            await self.nc.publish(subject, payload, headers=message_headers)
        except (
            nats.errors.ConnectionClosedError,
            nats.errors.ConnectionDrainingError,
            nats.errors.OutboundBufferLimitError,
        ) as error:
            raise ConnectionFailed(f"cannot publish: {error}") from error

    async def request(self, subject: str, payload: bytes, deadline: float, message_headers: dict[str, str]) -> Msg:
        """Send a request and wait for the first reply, whatever it is.

        Args:
            subject: where to.
            payload: what.
            deadline: until when, in unix seconds.
            message_headers: sent along.

        Raises:
            NotServed: if nobody listens there.
            DeadlineExceeded: without a reply in time.
            InvalidInput: if the payload is larger than the server takes.
            ConnectionFailed: if the connection is closed, or cut for so long that its buffer is full.
        """
        if len(payload) + headers.size(message_headers) > self.nc.max_payload:
            # nats-py leaves the headers out of its own check, and the server would cut the connection.
            raise InvalidInput(
                f"{subject}: {len(payload)} bytes and headers are more than the server's {self.nc.max_payload}",
                remedy="store large data as a blob and send its name",
            )
        left = deadline - time.time()
        if left <= 0:
            raise DeadlineExceeded(f"{subject}: the deadline had passed before it was sent")
        try:
            return await self.nc.request(subject, payload, timeout=left, headers=message_headers)
        except nats.errors.NoRespondersError as error:
            raise NotServed(f"nobody serves {subject}") from error
        except nats.errors.TimeoutError as error:
            why = "no answer in time" if self.nc.is_connected else "the connection is cut"
            raise DeadlineExceeded(f"{subject}: {why}") from error
        except (
            nats.errors.ConnectionClosedError,
            nats.errors.ConnectionDrainingError,
            nats.errors.OutboundBufferLimitError,
        ) as error:
            raise ConnectionFailed(f"{subject}: {error}") from error

    async def _call(
        self,
        service: str,
        operation: str,
        request: Any,
        tenant: str,
        returns: Any,
        deadline: float,
        trace: dict[str, str] | None,
    ) -> Any:
        subject = subjects.rpc(service, tenant, operation)
        sent = {headers.DEADLINE: headers.deadline_value(deadline), **(trace or {})}
        payload = encode(request)
        if self.telemetry is None:
            reply = await self.request(subject, payload, deadline, sent)
            raise_remote(subject, reply)
        else:
            with self.telemetry.calling(service, operation, tenant, sent):
                reply = await self.request(subject, payload, deadline, sent)
                raise_remote(subject, reply)
        if returns is None:
            return orjson.loads(reply.data or b"null")
        return codec_for(returns).decode(reply.data)

    async def _store(
        self, subject: str, value: Any, scope: str, key: str | None, timeout: float, trace: dict[str, str] | None
    ) -> Receipt:
        message_id = f"{scope}.{subjects.identifier(key, 'key')}" if key is not None else unique_id()
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
        deadline = time.time() + timeout
        delay = _TRY_DELAY
        while True:
            try:
                reply = await self.request(subject, payload, min(deadline, time.time() + _TRY), sent)
                return _receipt(subject, reply)
            except NotServed:
                # While a stream has no leader, or the server is starting, nobody answers for it either.
                if time.time() + delay >= deadline:
                    raise
            except (DeadlineExceeded, ConnectionFailed, NotStored) as error:
                if self.nc.is_closed or time.time() + delay >= deadline:
                    raise NotStored(f"{subject}: not acknowledged in {timeout:g} s: {error.message}") from error
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, 1.0)

    async def _reconnected(self) -> None:
        _log.info("connected again to %s", self.nc.connected_url.netloc if self.nc.connected_url else "?")
        for listener in list(self._on_reconnect):
            listener.reconnected()


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
        deadline = time.time() + timeout
        bound = self._bound()
        if bound is not None:
            deadline = min(deadline, bound)
        return await self.bus._call(service, operation, request, self.tenant, returns, deadline, self._trace())

    async def submit(
        self, service: str, operation: str, request: Any, *, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """As `Bus.submit`."""
        subject = subjects.job(service, self.tenant, operation)
        return await self.bus._store(subject, request, f"{self.tenant}.{operation}", key, timeout, self._trace())

    async def emit(
        self, event_type: str, event: Any, *, key: str | None = None, timeout: float = STORE_TIMEOUT
    ) -> Receipt:
        """As `Bus.emit`."""
        subject = subjects.event(self.tenant, event_type)
        return await self.bus._store(subject, event, f"{self.tenant}.{event_type}", key, timeout, self._trace())

    def _trace(self) -> dict[str, str] | None:
        return None

    def _bound(self) -> float | None:
        return None


async def connect(
    url: str | None = None,
    *,
    creds: str | Path | None = None,
    name: str = "headway",
    timeout: float = CONNECT_TIMEOUT,
) -> Bus:
    """Connect to the bus. A connection that is lost later comes back by itself, whenever the server does.

    Args:
        url: of the server, or several joined by commas; `HEADWAY_NATS_URL` and then `nats://127.0.0.1:4222` by default.
        creds: path of a credentials file, or its text; `HEADWAY_NATS_CREDS` by default.
        name: shown in the server's list of connections.
        timeout: seconds to try before giving up.

    Raises:
        ConnectionFailed: if no server is reached or it refuses us.
    """
    url = url or os.environ.get("HEADWAY_NATS_URL") or DEFAULT_URL
    given = creds if creds is not None else os.environ.get("HEADWAY_NATS_CREDS")
    options: dict[str, Any] = {}
    if given:
        text = _creds_text(given)
        options["user_credentials"] = nats.aio.client.RawCredentials(text)
        options["inbox_prefix"] = f"_INBOX.{_public_key(text)}"
    nc = nats.aio.client.Client()
    bus: Bus | None = None
    last: list[Exception] = []

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        if bus is not None:
            # While the server is away every try to reconnect fails; one line about the loss is enough.
            level = logging.WARNING if nc.is_connected else logging.DEBUG
            _log.log(level, "NATS: %s", str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        if bus is not None and not nc.is_closed:
            _log.warning("connection lost, reconnecting")

    async def on_reconnect() -> None:
        if bus is not None:
            await bus._reconnected()

    async def on_closed() -> None:
        if bus is not None:
            bus.closed.set()

    # Not by asyncio.timeout: nats-py can lose a cancellation (bus/tasks.py), and would then go on trying for ever.
    connecting = asyncio.create_task(
        nc.connect(
            servers=url.split(","),
            name=name,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            closed_cb=on_closed,
            connect_timeout=2,
            reconnect_time_wait=_RECONNECT_DELAY,  # type: ignore[arg-type]  # seconds, fractions work
            max_reconnect_attempts=-1,
            reconnect_to_server_handler=reconnect_plan,
            ping_interval=_PING,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
            **options,
        )
    )
    try:
        done, _ = await asyncio.wait({connecting}, timeout=timeout)
    except asyncio.CancelledError:
        await _give_up(nc, connecting)
        raise
    error = connecting.exception() if done else TimeoutError()
    if error is not None:
        await _give_up(nc, connecting)
        if not isinstance(error, (OSError, nats.errors.Error)):
            raise error
        cause = last[0] if last else error
        detail = str(cause) or type(cause).__name__
        refused = "the server does not take the credentials: have them made anew by whoever has the keys of it"
        raise ConnectionFailed(
            f"no connection to {url} within {timeout:g} s: {detail}",
            remedy=refused if "authorization violation" in detail.lower() else None,
        ) from error
    bus = Bus(nc)
    return bus


async def _give_up(nc: nats.aio.client.Client, connecting: asyncio.Task[None]) -> None:
    """End a connection that is being made."""
    await tasks.end([connecting])
    if nc.options:  # it had begun
        await nc.close()


def reconnect_plan(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """Which server to try next and after how many seconds: any of the least tried, with growing, jittered waits.

    Without the jitter all workers of a restarted server would come back in the same instant.
    """
    fewest = min(server.reconnects for server in servers)
    server = random.choice([server for server in servers if server.reconnects == fewest])
    ceiling = min(_RECONNECT_DELAY_MAX, _RECONNECT_DELAY * 2 ** min(fewest, 10))
    return server, random.uniform(0, ceiling)


def raise_remote(subject: str, reply: Msg) -> None:
    """Raise what a reply's error headers say, if it has any.

    Raises:
        CallError: the class named by `Headway-Error`, or by the status number for other implementations.
    """
    found = reply.headers
    if not found or headers.SERVICE_ERROR not in found:
        return
    code, status = found.get(headers.ERROR, ""), found.get(headers.SERVICE_ERROR_CODE, "")
    kind = _by_code.get(code) or next((k for k in _by_code.values() if str(k.status) == status), RemoteError)
    message = f"{subject}: {found[headers.SERVICE_ERROR]}"
    error_id = found.get(headers.ERROR_ID, "")
    raised = kind(f"{message}, error id {error_id}" if error_id else message)
    if isinstance(raised, RemoteError):
        raised.error_id = error_id
    raise raised


def _receipt(subject: str, reply: Msg) -> Receipt:
    try:
        answer = orjson.loads(reply.data)
    except orjson.JSONDecodeError as invalid:
        raise StoreError(f"{subject}: answered by something that is not JetStream") from invalid
    error = answer.get("error")
    if error is None and "stream" in answer:
        return Receipt(answer["stream"], answer["seq"], answer.get("duplicate", False))
    error = error or {}
    detail = error.get("description", "no acknowledgement of JetStream")
    if error.get("err_code") in _FULL or "maximum" in detail:
        raise QueueFull(f"{subject}: {detail}")
    if error.get("err_code") == _IN_PROCESS:
        raise NotStored(f"{subject}: {detail}")
    if error.get("code") == 503:
        raise NotServed(f"{subject}: {detail}")
    raise StoreError(f"{subject}: {detail}")


def _creds_text(given: str | Path) -> str:
    if isinstance(given, str) and "-----BEGIN" in given:
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise UsageError(
            f"cannot read the credentials {given}: {error.strerror}",
            remedy="HEADWAY_NATS_CREDS names a file made by `headway up`",
        ) from error


def _public_key(creds: str) -> str:
    """The user's public key: the subject of the private inboxes that its role may subscribe to."""
    lines = iter(creds.splitlines())
    for line in lines:
        if "BEGIN USER NKEY SEED" in line:
            pair = nkeys.from_seed(next(lines, "").strip().encode())
            return str(pair.public_key.decode())
    raise UsageError("the credentials hold no user seed", remedy="make them anew with `headway up`")
