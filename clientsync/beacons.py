"""Head beacons: every two seconds `live.<tenant>.head` lists the recent changes of an active tenant for its pages.

RePublish does not guarantee delivery, and its last sequence is per subject: a page that missed one change and received
the next cannot detect that. So a beacon lists the changes of the last two rounds, read from the stream itself. A page
that has received all of them advances to the beacon's end without a request; a page that has not, or that missed
beacons, pulls. All instances may send beacons: each is correct, and one from an instance that is behind adds nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from typing import Any, Final

import orjson

from headway.bus.errors import ConnectionFailed, StoreError
from headway.bus.wire import subjects
from headway.clientsync.tail import Tail

EVERY: Final = 2.0
"""Seconds between beacons."""
ACTIVE: Final = 60.0
"""Seconds for which a tenant counts as active after a change or a pull."""
_STALE: Final = 3.0
"""Seconds after which the tail's information is too old for a beacon."""

_log = logging.getLogger("headway.clientsync")


def beacon(epoch: str, since: int, upto: int, head: int, seqs: Iterable[int], at: float) -> dict[str, Any]:
    """Return a beacon, which lists the sequences in (since, upto] as differences between neighbors."""
    steps = [after - before for before, after in pairwise([since, *seqs])]
    return {"epoch": epoch, "from": since, "upto": upto, "head": head, "changes": steps, "at": round(at, 3)}


class Beacons:
    """Sends beacons.

    Args:
        publish: publishes with the permissions of the role `web`.
        tail: the recent changes.
        active: returns the tenants that are active without changes.
        every: seconds between beacons.
    """

    def __init__(
        self,
        publish: Callable[[str, bytes], Awaitable[None]],
        tail: Tail,
        active: Callable[[], set[str]],
        *,
        every: float = EVERY,
    ) -> None:
        self._publish = publish
        self._tail = tail
        self._active = active
        self._every = every
        self._marks: list[int] = []
        tail.on_epoch.append(self._marks.clear)

    async def run(self) -> None:
        """Send beacons until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.send()
            except (StoreError, ConnectionFailed) as error:
                # Pages that receive no beacon pull on their own.
                _log.debug("no beacons: %s", error)

    async def send(self) -> None:
        """Send one round.

        Raises:
            StoreError, ConnectionFailed: if the state of the stream is unknown.
        """
        epoch = (await self._tail.facts()).epoch
        now = time.monotonic()
        if now - self._tail.fresh > _STALE:
            return
        upto = self._tail.position
        since = self._marks[0] if self._marks else upto
        changed = {tenant for tenant, recent in self._tail.recent.items() if now - recent.at < ACTIVE}
        for tenant in changed | self._active():
            start, seqs = self._tail.changes(tenant, since)
            said = beacon(epoch, min(start, upto), upto, self._tail.head(tenant), seqs, time.time())
            await self._publish(subjects.live_head(tenant), orjson.dumps(said))
        self._marks[:] = [*self._marks[-1:], upto]
