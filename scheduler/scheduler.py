"""The scheduler: of several replicas, the one that holds the lease submits jobs when they are due."""

from __future__ import annotations

import asyncio
from typing import Final

from headway.bus.client.bus import Bus
from headway.control.controller import Controller
from headway.control.lease import TTL
from headway.scheduler.later import LaterJobs

PERIOD: Final = 1.0
"""Seconds between two rounds."""
_ROUND_TIMEOUT: Final = 10.0


class Scheduler(Controller):
    """One scheduler.

    Args:
        bus: a connection in the control or operator role.
        holder: name of this contender, for the lease.
        period: seconds between two rounds.
        ttl: seconds after which another scheduler takes over from a dead one.
    """

    def __init__(self, bus: Bus, *, holder: str, period: float = PERIOD, ttl: float = TTL) -> None:
        super().__init__(bus, "scheduler", holder=holder, period=period, timeout=_ROUND_TIMEOUT, ttl=ttl)
        self._submitting: asyncio.Task[None] | None = None

    async def reconcile(self) -> None:
        """Have jobs for later submitted beside the rounds, for as long as this replica leads."""
        if self._submitting is None or self._submitting.done():
            jobs = LaterJobs(self._bus, lambda: self.lease.held)
            self._submitting = self.spawn(jobs.run(), "submitting jobs for later")
