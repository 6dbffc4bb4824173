"""Declare a service: a name, typed handlers, hooks and resources. Nothing here touches the network."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headway.bus import periodic
from headway.bus.errors import ConfigError, DeclarationError
from headway.bus.handlers import Handler, Kind, declare
from headway.bus.retry import Retry
from headway.bus.wire import subjects
from headway.bus.wire.periodic import Missed, PeriodicJob

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_CONCURRENCY = 256
DEFAULT_MAX_INFLIGHT = 256
DEFAULT_ACK_WAIT = 30.0
DEFAULT_RPC_TIMEOUT = 5.0
DEFAULT_WORK_TIMEOUT = 60.0

ONCE = Retry(attempts=1)


class NoConfig(BaseModel):
    """The configuration of a service that declares none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The worker that a hook or resource runs in."""

    service: str
    version: str
    worker: str
    config: BaseModel


Hook = Callable[[WorkerInfo], Awaitable[None]]
Resource = Callable[[], AsyncIterator[T]] | Callable[[WorkerInfo], AsyncIterator[T]]


class Service:
    """A service and its handlers.

    Args:
        name: its name in subjects, streams and queue groups.
        config: a pydantic model of its configuration, frozen with each version; read with `ctx.config(Model)`.
        concurrency: how many jobs and events one worker may have in hand.
        max_inflight: how many calls one worker serves at once; it answers further calls with 503 immediately.
        ack_wait: seconds after which the server redelivers the work of a silent worker. A live worker renews
            work in progress every third of this time.
        queue_bytes: bound of the job stream in bytes.
        queue_per_subject: bound of waiting jobs per version, lane, tenant and operation, so that one tenant
            cannot fill the queue.
        description: one sentence, shown by `nats micro info` and `headway docs`.

    Raises:
        InvalidSubject: if the name breaks the grammar.
        DeclarationError: if a number is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        config: type[BaseModel] = NoConfig,
        concurrency: int = DEFAULT_CONCURRENCY,
        max_inflight: int = DEFAULT_MAX_INFLIGHT,
        ack_wait: float = DEFAULT_ACK_WAIT,
        queue_bytes: int = 1 << 30,
        queue_per_subject: int = 250_000,
        description: str = "",
    ) -> None:
        for what, number in (
            ("concurrency", concurrency),
            ("max_inflight", max_inflight),
            ("queue_bytes", queue_bytes),
            ("queue_per_subject", queue_per_subject),
        ):
            if number < 1:
                raise DeclarationError(f"service {name!r}: {what}={number}", remedy=f"set {what} to at least 1")
        if ack_wait < 0.1:
            raise DeclarationError(f"service {name!r}: ack_wait={ack_wait}", remedy="set it to at least 0.1 seconds")
        self.name = subjects.token(name, "service")
        self.config_type = config
        self.concurrency = concurrency
        self.max_inflight = max_inflight
        self.ack_wait = ack_wait
        self.queue_bytes = queue_bytes
        self.queue_per_subject = queue_per_subject
        self.description = description
        self._handlers: dict[tuple[Kind, str], Handler] = {}
        self._periodic: list[PeriodicJob] = []
        self._on_start: list[Hook] = []
        self._on_stop: list[Hook] = []
        self._resources: list[Resource[Any]] = []
        self._health: list[Callable[[], Awaitable[bool]]] = []

    def __repr__(self) -> str:
        return f"Service({self.name!r}, handlers={len(self._handlers)})"

    @property
    def handlers(self) -> list[Handler]:
        """All declared handlers, in declaration order."""
        return list(self._handlers.values())

    def handlers_of(self, kind: Kind) -> dict[str, Handler]:
        """Return the handlers of one kind, keyed by operation or event type."""
        return {name: handler for (of, name), handler in self._handlers.items() if of is kind}

    @property
    def periodic(self) -> tuple[PeriodicJob, ...]:
        """When its periodic jobs run."""
        return tuple(self._periodic)

    @property
    def longest(self) -> float:
        """The longest timeout of all job and event handlers in seconds; 0 if there are none."""
        work = [*self.handlers_of(Kind.JOB).values(), *self.handlers_of(Kind.EVENT).values()]
        return max((handler.timeout for handler in work), default=0.0)

    @property
    def start_hooks(self) -> Iterable[Hook]:
        """Hooks that run in order before the worker serves."""
        return tuple(self._on_start)

    @property
    def stop_hooks(self) -> Iterable[Hook]:
        """Hooks that run in reverse order after the worker has drained."""
        return tuple(reversed(self._on_stop))

    @property
    def resources(self) -> Iterable[Resource[Any]]:
        """Resources, opened in order before the start hooks and closed in reverse after the stop hooks."""
        return tuple(self._resources)

    @property
    def health_checks(self) -> Iterable[Callable[[], Awaitable[bool]]]:
        """Health checks, run once a second; a worker is healthy if all of them pass."""
        return tuple(self._health)

    def rpc(self, operation: str, *, timeout: float = DEFAULT_RPC_TIMEOUT) -> Callable[[F], F]:
        """Declare the handler of a call: `(request)` or `(request, ctx)`, returning the reply.

        Args:
            operation: last token of `rpc.<service>.<tenant>.<operation>`.
            timeout: seconds the handler may take; a shorter timeout of the caller applies instead.
        """
        return self._declare(Kind.RPC, subjects.token(operation, "operation"), timeout, ONCE)

    def job(
        self, operation: str, *, retry: Retry | None = None, timeout: float = DEFAULT_WORK_TIMEOUT
    ) -> Callable[[F], F]:
        """Declare the handler of a durable job. It runs at least once: make its effect idempotent.

        Args:
            operation: last token of `job.<service>.<tenant>.<operation>`.
            retry: attempts and back-off; five attempts by default.
            timeout: seconds one attempt may take.
        """
        return self._declare(Kind.JOB, subjects.token(operation, "operation"), timeout, retry or Retry())

    def cron(
        self,
        expression: str,
        *,
        tz: str = "UTC",
        missed: Missed = "run-once",
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float = DEFAULT_WORK_TIMEOUT,
    ) -> Callable[[F], F]:
        """Declare a job that runs at the times of a cron expression: `(tick: Tick)` or `(tick: Tick, ctx)`.

        The scheduler submits each run once, for the tenant `headway`, over any number of workers.

        Args:
            expression: five cron fields, such as `0 3 * * mon-fri`.
            tz: its time zone, such as `Europe/Berlin`.
            missed: what happens to runs whose time passed more than ten seconds ago, as when nothing ran: `skip` none
                of them runs, `run-once` the last one does, `run-all` all do.
            name: its operation; by default the function's name, with '-' for '_'.
            retry: attempts and back-off; five attempts by default.
            timeout: seconds one attempt may take.

        Raises:
            DeclarationError: if the expression, the time zone or the handler's request is invalid.
        """
        return self._repeat(PeriodicJob(name="", cron=expression, tz=tz, missed=missed), name, timeout, retry)

    def every(
        self,
        seconds: float,
        *,
        missed: Missed = "skip",
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float = DEFAULT_WORK_TIMEOUT,
    ) -> Callable[[F], F]:
        """Declare a job that runs every so many seconds, counted from the unix epoch; otherwise as `cron`.

        Args:
            seconds: seconds between two runs, at least 1.
            missed: as for `cron`.
            name: as for `cron`.
            retry: as for `cron`.
            timeout: seconds one attempt may take.

        Raises:
            DeclarationError: if the interval or the handler's request is invalid.
        """
        return self._repeat(PeriodicJob(name="", every=seconds, missed=missed), name, timeout, retry)

    def on(
        self, event_type: str, *, retry: Retry | None = None, timeout: float = DEFAULT_WORK_TIMEOUT
    ) -> Callable[[F], F]:
        """Declare the handler of an event. Each subscribing service receives each event at least once.

        Args:
            event_type: the type, such as `call.ended`.
            retry: attempts and back-off; five attempts by default.
            timeout: seconds one attempt may take.
        """
        return self._declare(Kind.EVENT, subjects.event_type(event_type), timeout, retry or Retry())

    def on_start(self, hook: Hook) -> Hook:
        """Run `hook(WorkerInfo)` before the worker takes its first message."""
        self._on_start.append(hook)
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Run `hook(WorkerInfo)` after the worker has finished its last message."""
        self._on_stop.append(hook)
        return hook

    def resource(self, factory: Callable[..., AsyncIterator[T]]) -> Callable[..., AsyncIterator[T]]:
        """Declare a per-worker resource: an async generator that yields it once and then cleans up.

        The generator takes no argument or the `WorkerInfo`. Handlers get the resource by `ctx.resource(factory)`.
        """
        self._resources.append(factory)
        return factory

    def health_check(self, check: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        """Run `check()` once a second. False, an error or more than a second marks the worker unhealthy."""
        self._health.append(check)
        return check

    def configure(self, values: dict[str, Any] | None) -> BaseModel:
        """Validate a version's configuration.

        Raises:
            ConfigError: if fields are invalid; it names each of them.
        """
        try:
            return self.config_type.model_validate(values or {})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(
                f"configuration of service {self.name!r}: {problems}",
                remedy=f"its fields are {', '.join(self.config_type.model_fields) or 'none'}",
            ) from error

    def _repeat(self, job: PeriodicJob, name: str | None, timeout: float, retry: Retry | None) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            operation = name or function.__name__.strip("_").replace("_", "-").lower()
            declared = periodic.check(job.model_copy(update={"name": operation}))
            self._declare(Kind.JOB, operation, timeout, retry or Retry())(function)
            handler = self._handlers[Kind.JOB, operation]
            self._handlers[Kind.JOB, operation] = periodic.guarded(handler)
            self._periodic.append(declared)
            return function

        return decorate

    def _declare(self, kind: Kind, name: str, timeout: float, retry: Retry) -> Callable[[F], F]:
        namespace = sys._getframe(2).f_locals  # noqa: SLF001  # `inspect.currentframe` uses it, too

        def decorate(function: F) -> F:
            if (kind, name) in self._handlers:
                raise DeclarationError(
                    f"service {self.name!r} has two handlers for {kind.value} {name!r}", remedy="remove one"
                )
            self._handlers[kind, name] = declare(
                function, kind=kind, name=name, timeout=timeout, retry=retry, namespace=namespace
            )
            return function

        return decorate
