"""The base class of every controller: of several replicas, the one that holds the lease reconciles.

    class Scaler(Controller):
        async def reconcile(self) -> None: ...       # read all of it, decide, act

    await Scaler(bus, "scaler", holder="host-1").run(stop)

The base class owns the lease, the view of the fleet, the rounds and the background work, and ends all of them.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from headway.broker import queues
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.control.fleet import Fleet
from headway.control.lease import TTL, Lease
from headway.control.rounds import Rounds

T = TypeVar("T")


class Controller(abc.ABC):
    """One of several controller replicas.

    Args:
        bus: a connection in the control or operator role.
        name: name of the controller, for logs, such as "scaler".
        holder: name of this contender, for logs and the lease.
        period: seconds between the end of a round and the next one.
        timeout: seconds after which a round is given up.
        lease: name of the lease, if several controllers with the same name may act side by side. By default `name`.
        ttl: seconds after which another replica takes over from a dead holder; a whole number.

    Attributes:
        lease: decides which replica acts.
        fleet: the workers, by their heartbeats.
    """

    def __init__(
        self, bus: Bus, name: str, *, holder: str, period: float, timeout: float, lease: str = "", ttl: float = TTL
    ) -> None:
        self.lease = Lease(bus, lease or name, holder, ttl)
        self.fleet = Fleet()
        self._bus = bus
        self._name = name
        self._timeout = timeout
        self._rounds = Rounds(name, self.lease, period)
        self._spawned: set[asyncio.Task[Any]] = set()

    @abc.abstractmethod
    async def reconcile(self) -> None:
        """Do one round: read desired and actual state, decide, act. Called only while this replica holds the lease.

        A round that raises or takes too long is abandoned; the next one sees what is left to do.
        """

    @property
    def period(self) -> float:
        """Return the seconds between the end of a round and the next one."""
        return self._rounds.period

    def wake(self) -> None:
        """Start the next round now."""
        self._rounds.wake()

    def spawn(self, work: Coroutine[Any, Any, T], what: str = "") -> asyncio.Task[T]:
        """Run a task beside the rounds; it is cancelled when the controller ends.

        Args:
            work: the coroutine. A failure is logged, and the rounds continue.
            what: its name, for logs.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._spawned.add(task)
        task.add_done_callback(lambda ended: self._done(ended, what))
        return task

    def beside(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the coroutines that run beside the rounds for as long as the controller does, leading or not."""
        return ()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold what a controller needs while it runs, leading or not, such as a subscription."""
        yield

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set, or until cancelled. Ends all its tasks, then gives up the lease."""
        stop = stop or asyncio.Event()
        try:
            async with (
                self.fleet.listening(self._bus),
                queues.served(self._bus),
                self.opened(),
                tasks.group() as group,
            ):
                rounds = self._rounds.run(self.reconcile, timeout=self._timeout, late=self.fleet.reconnected)
                running = [
                    group.create_task(work) for work in (self.lease.lead(self._rounds.led), rounds, *self.beside())
                ]
                try:
                    await stop.wait()
                finally:
                    await tasks.end([*running, *self._spawned])
        finally:
            await tasks.end(self._spawned)
            await self.lease.release()

    def _done(self, task: asyncio.Task[Any], what: str) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logging.getLogger(f"headway.{self._name}").error(
                "%s failed, the next round tries again", what or "work beside the rounds", exc_info=error
            )
