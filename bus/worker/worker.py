"""A worker: one running instance of a version of a service, from its start until it is drained.

    async with Worker(fax, bus, version="v1"):
        ...                                       # serving; leaving the block drains

Start: configuration, resources, start hooks, the queues that control makes, then calls and work. Stop: accept nothing
new, finish work in progress within the grace period, hand back the rest, run stop hooks, close resources. Finished work
is never handed back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.context import WorkerScope
from headway.bus.errors import HeadwayError, text_of
from headway.bus.nats.refusals import translating
from headway.bus.service import Hook, Resource, Service, WorkerInfo
from headway.bus.wire import subjects
from headway.bus.wire.beat import INTERVAL, Beat, Counters, State, by_tenant, cpu_seconds, rss_bytes
from headway.bus.worker import queues
from headway.bus.worker.execute import notice_forgotten
from headway.bus.worker.micro import MicroResponder
from headway.bus.worker.rpc import RpcServer
from headway.bus.worker.watchdog import Watchdog
from headway.bus.worker.work import WorkRunner

DEFAULT_GRACE = 30.0
"""Minimum seconds that work in progress has to finish after a worker was asked to stop."""

THREADS = "headway-handler"
"""Name of the threads that `def` handlers run in."""

_KEEPER_INTERVAL = 0.25
_HEALTH_TIMEOUT = 1.0
_PUBLISH_TIMEOUT = 1.0
_RESTORE_TIMEOUT = 5.0
"""Seconds to wait for control; meanwhile work in progress is not renewed."""

_log = logging.getLogger("headway.bus")


class Worker:
    """Serves one version of a service over one connection.

    Args:
        service: what to serve.
        bus: the connection; the worker does not close it.
        version: the version's label.
        config: the version's frozen configuration.
        name: the worker's id; a random one by default.
        grace: seconds that work in progress has to finish when it stops; by default the longest timeout of its jobs
            and events, at least `DEFAULT_GRACE`.

    Raises:
        InvalidSubject: if version or name break the grammar.
        ConfigError: if the configuration does not validate.
    """

    def __init__(
        self,
        service: Service,
        bus: Bus,
        *,
        version: str = "v1",
        config: dict[str, Any] | None = None,
        name: str | None = None,
        grace: float | None = None,
    ) -> None:
        self.service = service
        self.bus = bus
        self.version = subjects.token(version, "version")
        self.name = subjects.identifier(name, "worker") if name is not None else unique_id()
        self.grace = max(DEFAULT_GRACE, service.longest) if grace is None else grace
        self.state: State = "starting"
        self.counters = Counters()
        frozen = service.configure(config)
        self.info = WorkerInfo(service.name, version, self.name, frozen)
        self._scope = WorkerScope(bus, service.name, version, self.name, frozen)
        self._threads = ThreadPoolExecutor(
            # One per call, job and event at the limits: none waits for a thread while its timeout runs.
            max_workers=service.concurrency + service.max_inflight,
            thread_name_prefix=THREADS,
        )
        self._rpc = RpcServer(self._scope, service, self.counters, self._threads, self._stir)
        self._work = WorkRunner(self._scope, service, self.counters, self._threads, self._stir)
        self._watchdog = Watchdog(self._work.blocked)
        self._micro = MicroResponder(bus.nc, service, version, self.name, self._rpc)
        self._started, self._began = time.time(), time.monotonic()
        self._loop_lag = 0.0
        self._healthy = True
        self._hurry = asyncio.Event()
        self._resting = False
        self._stirred = asyncio.Event()
        self._mark = bus.nc.new_inbox()
        """Reply subject of heartbeats. Nobody replies: JetStream's own messages have none (control/heartbeats.py)."""
        self._background = _Background()
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"Worker({self.service.name!r}, version={self.version!r}, name={self.name!r}, state={self.state!r})"

    async def __aenter__(self) -> Self:
        """Start, and return when the worker serves.

        Raises:
            StoreError: if a stream or consumer is missing or cannot be created.
            ConnectionFailed: without an answer from JetStream.
            Exception: any exception of a resource or start hook, with a note that names it.
        """
        notice_forgotten()
        async with AsyncExitStack() as stack:
            stack.callback(self._threads.shutdown, wait=False, cancel_futures=True)
            for factory in self.service.resources:
                self._scope.resources[factory] = await stack.enter_async_context(_opened(factory, self.info))
            stack.push_async_callback(self._run_stop_hooks)
            for hook in self.service.start_hooks:
                await _run_hook(hook, self.info, "start hook")
            await queues.ensure(self.bus, self.service, self.version)
            self.bus.on_reconnect(self)
            stack.push_async_callback(self._background.stop)
            stack.push_async_callback(self._drain)
            await self._rpc.start()
            await self._micro.start()
            if self._work.jobs:
                await self._work.mover.open()
                stack.push_async_callback(self._work.mover.close)
                self._background.start(self._work.backlog.watch())
            if self._work.sources:
                self._background.start(self._work.puller.run())
            if self.service.health_checks:
                self._background.start(self._watch_health())
            self._watchdog.start()
            stack.callback(self._watchdog.stop)
            self._background.start(self._keep())
            self._background.start(self._beat())
            self.state = "serving"
            await self._publish_beat()
            self._stack = stack.pop_all()
        _log.info("%s %s serves as %s", self.service.name, self.version, self.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        self.state = "stopped"
        await self._publish_beat()
        _log.info("%s %s has stopped as %s", self.service.name, self.version, self.name)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set or the connection is closed for good, then drain. Raises as entering does."""
        async with self:
            ends = (stop, self.bus.closed, self._background.failed)
            waiting = [asyncio.ensure_future(event.wait()) for event in ends]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for future in waiting:
                    future.cancel()

    def hurry(self) -> None:
        """End the grace period: hand back work in progress at once."""
        self._hurry.set()

    def reconnected(self) -> None:
        """Resume pulling after a reconnect; the bus calls this."""
        self._work.puller.reconnected()

    def beat(self) -> Beat:
        """Return the worker's current heartbeat."""
        now = time.monotonic()
        counters = self.counters
        return Beat(
            service=self.service.name,
            version=self.version,
            worker=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            at=time.time(),
            state=self.state,
            rpc_inflight=self._rpc.inflight,
            in_hand=self._work.in_hand,
            oldest_s=max(self._rpc.oldest(now), self._work.oldest(now)),
            processed=counters.processed,
            failed=counters.failed,
            rejected=counters.rejected,
            retried=counters.retried,
            dead=counters.dead,
            shed=counters.shed,
            latency={kind: histogram.counts for kind, histogram in counters.latency.items()},
            cpu_s=cpu_seconds(),
            rss_bytes=rss_bytes(),
            loop_lag_s=self._loop_lag,
            healthy=self._healthy,
            slots=self.service.concurrency,
            limit=self.service.max_inflight,
            hung=self._rpc.hung + self._work.hung,
            uptime_s=now - self._began,
            grace_s=self.grace,
            waiting=counters.waiting.told(now),
            unstored=counters.unstored,
            operations=counters.operations.told(latency=True),
            tenants=counters.tenants.told(latency=False),
            busy=counters.busy.told(now),
            hands=by_tenant([*self._rpc.tenants, *self._work.tenants]),
            sidelined=self._work.backlog.told(now),
            moved=self._work.mover.count,
            rejections=dict(counters.rejections),
            schedules=self.service.periodic,
        )

    async def _drain(self) -> None:
        """Accept nothing new, finish work in progress, and hand back what does not finish in time."""
        self.state = "draining"
        await self._publish_beat()
        await asyncio.gather(self._rpc.stop(), self._work.puller.stop())
        finished = asyncio.ensure_future(self._finished())
        hurried = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((finished, hurried), timeout=self.grace, return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                why = "asked to stop at once" if hurried.done() else f"grace period of {self.grace:g} s is over"
                _log.warning("%s: handing back %d jobs, %d calls", why, self._work.in_hand, self._rpc.inflight)
                await asyncio.gather(self._rpc.hand_back(), self._work.hand_back())
        finally:
            finished.cancel()
            hurried.cancel()
        await self._micro.stop()
        if self.bus.nc.is_connected and not await self.bus.flush():
            _log.warning("the last acknowledgements may be lost; their messages are redelivered")

    async def _finished(self) -> None:
        await self._rpc.idle()
        await self._work.idle()

    async def _run_stop_hooks(self) -> None:
        for hook in self.service.stop_hooks:
            try:
                await _run_hook(hook, self.info, "stop hook")
            except Exception:
                _log.exception("a stop hook of %s failed", self.service.name)

    async def _keep(self) -> None:
        """Renew work in progress, detect lost requests, and recreate missing consumers.

        Without work in progress it runs once with each heartbeat, when the process is awake anyway.
        """
        interval = min(_KEEPER_INTERVAL, self.service.ack_wait / 6)
        while True:
            if not (self._work.in_hand or self._rpc.inflight or self._work.missing or self._work.mover.busy):
                self._rest()
                await self._stirred.wait()
            if not self._resting:
                # Sleep even if it is done already, so that a sequence of short work does not wake this loop each time.
                await asyncio.sleep(interval)
                self._watchdog.turn()
            self._work.puller.tick()
            self._work.mover.tick(time.monotonic())
            await self._work.keep_alive(time.monotonic())
            if self._work.missing and self.bus.nc.is_connected:
                await self._restore()

    def _rest(self) -> None:
        self._watchdog.rest()
        self._stirred.clear()
        self._resting = True

    def _stir(self) -> None:
        """Wake up for the first call or message after a rest; called before its handler starts."""
        if self._resting:
            self._resting = False
            self._watchdog.turn()
            self._stirred.set()

    async def _restore(self) -> None:
        missing, self._work.missing = self._work.missing, set()
        needs, why = queues.declaration(self.service), "no control process answers"
        try:
            if await queues.asked(self.bus, self.service.name, self.version, needs, _RESTORE_TIMEOUT):
                return
        except HeadwayError as error:
            why = error.message
        self._work.missing |= missing
        gone = [self._work.sources[index] for index in missing]
        _log.error("%s is gone: %s", ", ".join(f"{one.stream}/{one.consumer}" for one in gone), why)

    async def _beat(self) -> None:
        due = time.monotonic()
        while True:
            due += INTERVAL
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._loop_lag = max(0.0, now - due)
            self._stirred.set()
            due = max(due, now - INTERVAL)  # after a long pause, do not catch up on missed beats
            await self._publish_beat()

    async def _publish_beat(self) -> None:
        subject = subjects.beat(self.service.name, self.version, self.name)
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT):
                with translating(subject):
                    await self.bus.nc.publish(subject, self.beat().model_dump_json().encode(), reply=self._mark)
        except (TimeoutError, HeadwayError) as error:
            _log.debug("beat not sent: %r", error)

    async def _watch_health(self) -> None:
        while True:
            healthy = True
            for check in self.service.health_checks:
                try:
                    async with asyncio.timeout(_HEALTH_TIMEOUT):
                        healthy = bool(await check()) and healthy
                except (asyncio.CancelledError, GeneratorExit):
                    raise
                except BaseException as error:  # sys.exit() in a check means unhealthy; it must not end the worker
                    healthy = False
                    _log.warning("health check %s: %s", getattr(check, "__name__", check), text_of(error))
            self._healthy = healthy
            await asyncio.sleep(INTERVAL)


class _Background:
    """Tasks that run as long as the worker. A task that fails ends the worker."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("a background task of the worker failed", exc_info=task.exception())
            self.failed.set()

    async def stop(self) -> None:
        await tasks.end(self._tasks)
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result


def _opened(factory: Resource[Any], info: WorkerInfo) -> AbstractAsyncContextManager[Any]:
    """Return the context manager of a resource."""
    open_: Callable[..., AbstractAsyncContextManager[Any]] = asynccontextmanager(factory)
    return _noted(open_(info) if inspect.signature(factory).parameters else open_(), "resource", factory)


@asynccontextmanager
async def _noted(context: AbstractAsyncContextManager[Any], what: str, function: object) -> AsyncIterator[Any]:
    entered = False
    try:
        async with context as value:
            entered = True
            yield value
    except Exception as error:
        if not entered:
            error.add_note(f"while opening {what} {getattr(function, '__name__', function)}")
        raise


async def _run_hook(hook: Hook, info: WorkerInfo, what: str) -> None:
    try:
        await hook(info)
    except Exception as error:
        error.add_note(f"in {what} {getattr(hook, '__name__', hook)} of service {info.service!r}")
        raise
