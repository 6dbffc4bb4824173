"""The scheduler: of several replicas, the one that holds the lease submits jobs when their time comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from headway.bus.client.bus import Bus
from headway.control.controller import Controller
from headway.control.lease import TTL
from headway.scheduler.later import LaterJobs
from headway.scheduler.periodic import PeriodicJobs

PERIOD: Final = 1.0
"""Seconds between two rounds; the time of a periodic job begins one at once."""
_ROUND_TIMEOUT: Final = 10.0


class Scheduler(Controller):
    """One scheduler.

    Args:
        bus: a connection in the control or operator role.
        holder: name of this contender, for the lease.
        period: seconds between two rounds.
        ttl: seconds after which another scheduler takes over from a dead one.
        clock: returns unix seconds, by which periodic jobs run.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        holder: str,
        period: float = PERIOD,
        ttl: float = TTL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(bus, "scheduler", holder=holder, period=period, timeout=_ROUND_TIMEOUT, ttl=ttl)
        self._clock = clock
        self._periodic = PeriodicJobs(bus, self.fleet, lambda: self.lease.held, clock)
        self._submitting: asyncio.Task[None] | None = None
        self._led = 0

    async def reconcile(self) -> None:
        """Submit periodic jobs that are due; those for later are submitted beside the rounds while this one leads."""
        if self._led != self.lease.epoch:
            self._led = self.lease.epoch
            self._periodic.forget()
        if self._submitting is None or self._submitting.done():
            jobs = LaterJobs(self._bus, lambda: self.lease.held)
            self._submitting = self.spawn(jobs.run(), "submitting jobs for later")
        following = await self._periodic.submit_due()
        if following is not None and (wait := max(0.0, following - self._clock())) < self.period:
            asyncio.get_running_loop().call_later(wait, self.wake)
