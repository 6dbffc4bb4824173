"""The lease of a leader: of several controller replicas, one acts.

The holder writes `lease.<controller>` with a time to live (ADR-43) and renews it; when it stops, the server removes
the record and another contender takes it. The epoch, which grows with each new holder, is kept beside it without a
time to live.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from headway.bus.client.bus import Bus
from headway.bus.errors import Conflict, HeadwayError
from headway.bus.wire.subjects import token
from headway.control.records import LeaseRecord
from headway.control.store import Control, lease_key

TTL: Final = 3.0
"""Seconds after which the lease of a dead holder is free; the server accepts whole seconds only."""
MARGIN: Final = 0.5
"""Safety margin in seconds: a holder stops this much before expiry, for clocks that run at different speeds."""


def holds(renewed: float | None, now: float, ttl: float = TTL) -> bool:
    """Return whether a holder may still act.

    Args:
        renewed: when its last successful renewal was *begun*, in monotonic seconds: the server may count from then.
        now: on the same clock.
        ttl: of the lease.
    """
    return renewed is not None and now < renewed + ttl - MARGIN


class Lease:
    """One contender for a lease.

    Args:
        bus: a connection in the control or operator role.
        controller: name of the controller, such as "scaler".
        holder: name of this contender, for logs.
        ttl: time to live in whole seconds.
    """

    def __init__(self, bus: Bus, controller: str, holder: str, ttl: float = TTL) -> None:
        self._bus = bus
        self._control = Control(bus)
        self._key = lease_key(controller)
        self._epoch_key = f"epoch.{token(controller, 'controller')}"
        self._holder = holder
        self._ttl = ttl
        self._revision: int | None = None
        self._renewed: float | None = None
        self.epoch = 0
        """The epoch of this contender's lease, while it holds it."""

    @property
    def held(self) -> bool:
        """Return whether this contender may act now."""
        return holds(self._renewed, time.monotonic(), self._ttl)

    async def acquire_or_renew(self) -> bool:
        """Try to acquire or renew the lease. Call it about three times per `ttl`; without an answer, `held` expires.

        Without the application account it cannot act, so it does not renew: records are on a connection of their own.
        """
        began = time.monotonic()
        if not self._bus.nc.is_connected:
            return self.held
        try:
            if self._revision is None:
                await self._acquire()
            else:
                self._revision = await self._control.put(
                    self._key, self._record(), expect=self._revision, ttl=self._ttl
                )
        except Conflict:
            self._revision, self._renewed = None, None
            return False
        except HeadwayError:
            return self.held
        self._renewed = began
        return True

    async def lead(self, changed: Callable[[bool], None]) -> None:
        """Acquire the lease and keep it until cancelled.

        Args:
            changed: called with whether this contender holds the lease, when that changes.
        """
        led = False
        while True:
            held = await self.acquire_or_renew()
            if held != led:
                changed(held)
            led = held
            await asyncio.sleep(self._ttl / 3 if held else min(0.5, self._ttl / 3))

    async def release(self) -> None:
        """Release the lease at once, if this contender holds it."""
        revision, self._revision, self._renewed = self._revision, None, None
        if revision is not None:
            try:
                await self._control.delete(self._key, expect=revision)
            except HeadwayError:
                return  # it expires by itself

    async def _acquire(self) -> None:
        """Take the lease if it is free. The epoch is taken first, so that it is never used twice.

        Raises:
            Conflict: if another contender holds it, or was quicker.
        """
        standing = await self._control.get(self._key, LeaseRecord)
        if standing is not None:
            raise Conflict(f"{standing.value.holder} holds {self._key}")
        before = await self._control.get(self._epoch_key, LeaseRecord)
        self.epoch = before.value.epoch + 1 if before else 1
        await self._control.put(self._epoch_key, self._record(), expect=before.revision if before else 0)
        free = await self._control.marker(self._key)
        self._revision = await self._control.put(self._key, self._record(), expect=free, ttl=self._ttl)

    def _record(self) -> LeaseRecord:
        return LeaseRecord(holder=self._holder, epoch=self.epoch, at=time.time())
