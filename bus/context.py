"""The context of a handler: facts about its message, and access to the bus."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from headway.bus.client.bus import Tenant
from headway.bus.client.ids import unique_id
from headway.bus.errors import ConfigError, DeclarationError
from headway.bus.nats.delivery import Delivery
from headway.bus.wire import headers, proof, subjects
from headway.bus.wire.proof import User

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from headway.bus.client.bus import Bus

T = TypeVar("T")
C = TypeVar("C", bound=BaseModel)

_log = logging.getLogger("headway.handler")
_NO_HEADERS: Mapping[str, str] = {}


class WorkerScope:
    """State that all handlers of one worker share."""

    __slots__ = ("bus", "config", "resources", "service", "version", "worker")

    def __init__(self, bus: Bus, service: str, version: str, worker: str, config: BaseModel) -> None:
        self.bus = bus
        self.service = service
        self.version = version
        self.worker = worker
        self.config = config
        self.resources: dict[Callable[..., Any], Any] = {}


class Context(Tenant):
    """The second argument of a handler. `call`, `submit`, `emit`, `objects` and `blobs` act for the message's tenant.

    Attributes:
        tenant: the tenant that the message belongs to.
        operation: the operation or event type.
        attempt: number of this attempt, starting at 1; always 1 for calls.
        headers: the message's headers.
    """

    __slots__ = ("_delivery", "_id", "_log", "_message", "_scope", "_until", "_user", "attempt", "headers", "operation")

    def __init__(
        self,
        scope: WorkerScope,
        tenant: str,
        operation: str,
        message_headers: Mapping[str, str] | None,
        attempt: int,
        until: float | None,
        delivery: Delivery | None = None,
        message: Msg | None = None,
    ) -> None:
        self.bus = scope.bus
        self.tenant = tenant
        self.operation = operation
        self.attempt = attempt
        self._until = until
        self.headers = message_headers or _NO_HEADERS
        self._scope = scope
        self._delivery = delivery
        self._message = message
        self._user: User | None = None
        self._id: str | None = None
        self._log: _ContextLog | None = None

    @property
    def service(self) -> str:
        """Name of the service."""
        return self._scope.service

    @property
    def version(self) -> str:
        """Label of the version that handles the message."""
        return self._scope.version

    @property
    def worker(self) -> str:
        """Id of the worker that handles the message."""
        return self._scope.worker

    @property
    def id(self) -> str:
        """The message's id; it stays the same for all attempts of a job or event, in any version.

        It is unique within its tenant. Publishers choose it: another tenant may send the same one on purpose.
        """
        if self._id is None:
            known = self._delivery
            stored = f"{known.stream}.{known.sequence}" if known is not None else ""
            own = self.headers.get(headers.MESSAGE_ID)
            moved = self.headers.get(headers.ID)
            if moved and self.bus.ids.proven(self.headers.get(headers.PROOF), self.tenant, moved, ""):
                own = moved
            self._id = own or stored or unique_id()
        return self._id

    @property
    def user(self) -> User | None:
        """The person that a page's call or job is from; None proves nothing, so refuse what needs a person.

        It is proven by the session endpoint's signature, which is checked when this is first asked for. A page cannot
        name another person, but it can name none.

        Raises:
            Reject: if the message names a person and the proof is not valid.
            ConfigError: if this worker's credentials do not say whose signature to trust.
        """
        said = self.headers.get(headers.USER)
        if said is None or self._message is None:
            return None
        if self._user is None:
            trusted = self._scope.bus.issuers
            if not trusted:
                raise ConfigError(
                    f"the credentials of service {self.service!r} do not name the signer of sessions",
                    remedy="make new ones: `headway up` and the scaler do so at their start",
                )
            if self._delivery is None:
                self._user = proof.of_call(said, trusted, self.tenant, self._message.reply, time.time())
            else:
                place = f"{self.service}.{self.operation}"
                self._user = proof.of_job(said, trusted, self.tenant, place, self._message.data)
        return self._user

    def base_revision(self, type_: str, id_: str) -> int | None:
        """Return the revision of an object that a page's change is based on; None if the page sent none.

        Pass it as `expect`: `put` raises `Conflict` if another writer was first, and the page merges and retries.

        Raises:
            InvalidSubject: if the header with the revisions is malformed.
        """
        return subjects.base_revisions(self.headers.get(headers.BASE_REVISIONS, "")).get((type_, id_))

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry tenant, operation, message and trace id."""
        if self._log is None:
            self._log = _ContextLog(self)
        return self._log

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, 0 once it has passed; None if there is none."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    @property
    def deadline(self) -> float | None:
        """The deadline in unix seconds of this machine's clock; None if there is none.

        For display only. Compute with `remaining()`: clocks get adjusted, and differ between machines.
        """
        return None if self._until is None else time.time() + self._until - time.monotonic()

    def config(self, model: type[C]) -> C:
        """Return the version's frozen configuration.

        Raises:
            DeclarationError: if the service declares another model.
        """
        config = self._scope.config
        if not isinstance(config, model):
            raise DeclarationError(
                f"service {self.service!r} has a {type(config).__name__}, not a {model.__name__}",
                remedy=f"declare Service({self.service!r}, config={model.__name__})",
            )
        return config

    def resource(self, factory: Callable[..., AsyncIterator[T]]) -> T:
        """Return this worker's instance of a resource declared with `@service.resource`.

        Raises:
            DeclarationError: if it is not declared for this service.
        """
        try:
            found: T = self._scope.resources[factory]
        except KeyError:
            name = getattr(factory, "__name__", factory)
            raise DeclarationError(
                f"{name} is not a resource of service {self.service!r}", remedy="declare it with @service.resource"
            ) from None
        return found

    def _trace(self) -> dict[str, str] | None:
        """Return the trace headers to pass on, even while OpenTelemetry is off in this process."""
        parent = self.headers.get(headers.TRACEPARENT)
        if parent is None:
            return None
        state = self.headers.get(headers.TRACESTATE)
        return (
            {headers.TRACEPARENT: parent}
            if state is None
            else {
                headers.TRACEPARENT: parent,
                headers.TRACESTATE: state,
            }
        )

    def _left(self) -> float | None:
        return self.remaining()


class _ContextLog(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, context: Context) -> None:
        super().__init__(_log, {})
        self._context = context

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        extra = dict(kwargs.get("extra") or {})
        extra["headway"] = log_fields(self._context)
        kwargs["extra"] = extra
        return msg, kwargs


def log_fields(context: Context) -> dict[str, Any]:
    """Return the fields that every log line about a message carries."""
    parent = context.headers.get(headers.TRACEPARENT, "").split("-")
    found: dict[str, Any] = {
        "tenant": context.tenant,
        "operation": context.operation,
        "id": context.id,
        "attempt": context.attempt,
    }
    if len(parent) == 4:
        found["trace_id"], found["span_id"] = parent[1], parent[2]
    return found
