"""The rounds of a controller: read everything, decide, act, repeat.

One round each period, and one at once when something happened. Rounds are level-triggered: one that fails is
abandoned, and the next one sees what is left to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from headway.bus.errors import HeadwayError
from headway.control.lease import Lease

_LATE: Final = 1.0
"""Seconds by which a round may start late before heartbeats count as missed, too."""


class Rounds:
    """The rounds of one controller replica; only the leader acts.

    Args:
        controller: name of the controller, for logs, such as "scaler".
        lease: lease that decides who leads.
        period: seconds between the end of a round and the next one.
    """

    def __init__(self, controller: str, lease: Lease, period: float) -> None:
        self.period = period
        self._controller = controller
        self._lease = lease
        self._wake = asyncio.Event()
        self._log = logging.getLogger(f"headway.{controller}")

    def wake(self) -> None:
        """Start the next round now."""
        self._wake.set()

    def led(self, held: bool) -> None:  # noqa: FBT001  # a callback
        """Record whether this replica holds the lease; `Lease.lead` calls it."""
        self._log.info("%s the %s that acts", "this is" if held else "this is no longer", self._controller)
        self.wake()

    async def run(self, act: Callable[[], Awaitable[None]], *, timeout: float, late: Callable[[], None]) -> None:
        """Run rounds until cancelled.

        Args:
            act: one round; called only while this replica holds the lease.
            timeout: seconds after which a round is abandoned.
            late: called before a round that starts so late that this process or its machine must have been suspended.
        """
        due = time.monotonic()
        while True:
            if time.monotonic() - due > _LATE:
                late()
            if self._lease.held:
                try:
                    async with asyncio.timeout(timeout):
                        await act()
                except (HeadwayError, TimeoutError) as error:
                    self._log.warning("this round was given up, the next one tries again: %r", error)
                except Exception:
                    self._log.exception("this round was given up, the next one tries again")
            due = time.monotonic() + self.period
            try:
                async with asyncio.timeout(self.period):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()
