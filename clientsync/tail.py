"""Follow the end of the stream `OBJECTS` by polling: recent changes by tenant, and the position read so far.

A replica that is behind may answer a direct get. Its answer is then a prefix of the stream: complete up to the last
message it returns. So polling from the last message on never skips a change, regardless of which replica answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from headway.bus.errors import ConnectionFailed, StoreError
from headway.bus.nats.streams import TOMBSTONES
from headway.clientsync import objects
from headway.clientsync.objects import ObjectFacts, Store

POLL: Final = 0.5
"""Seconds between two polls."""
FACTS_AGE: Final = 1.0
"""Seconds for which the leader's information about the stream is cached."""
KEPT: Final = 1024
"""Changes remembered for each tenant. With more changes its beacons cover a shorter range, and its pages pull."""
_FORGET: Final = 60.0
"""Seconds after its last change that a tenant's changes are remembered."""
_HORIZON_AGE: Final = 60.0
_MARGIN: Final = 0.04
"""Safety margin of the horizon as a share of the tombstones' life, for clocks, paging and delays of the server."""

_log = logging.getLogger("headway.clientsync")


class Recent:
    """The latest changes of one tenant.

    Attributes:
        head: the highest sequence.
        at: when it was seen, monotonic seconds.
        seqs: sequences of the changes, ascending.
        floor: changes up to this sequence are not remembered.
    """

    __slots__ = ("at", "floor", "head", "seqs")

    def __init__(self, floor: int) -> None:
        self.head = 0
        self.at = 0.0
        self.seqs: deque[int] = deque()
        self.floor = floor

    def add(self, seq: int, now: float) -> None:
        """Add a change."""
        self.seqs.append(seq)
        self.head, self.at = seq, now
        while len(self.seqs) > KEPT:
            self.floor = self.seqs.popleft()


class Tail:
    """Follows the stream while `run` runs.

    Args:
        store: the stream.
        tombstones: seconds that tombstones stay.
        poll: seconds between two polls.
        facts_age: seconds for which the leader's information about the stream is cached.

    Attributes:
        position: everything up to this sequence has been read.
        recent: the latest changes by tenant.
        fresh: when the position was last that of some replica, in monotonic seconds; 0 is never.
    """

    def __init__(
        self, store: Store, *, tombstones: float = TOMBSTONES, poll: float = POLL, facts_age: float = FACTS_AGE
    ) -> None:
        self._store = store
        self._facts_age = facts_age
        self._poll = poll
        self._window = tombstones
        self._facts: tuple[float, ObjectFacts] | None = None
        self._asking = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._horizon: tuple[float, int] | None = None
        self._start = 0
        self.position = 0
        self.fresh = 0.0
        self.recent: dict[str, Recent] = {}
        self.on_epoch: list[Callable[[], None]] = []
        """Called when the stream was recreated, so that everything remembered of it is void."""

    async def facts(self) -> ObjectFacts:
        """Return the leader's information about the stream, cached; concurrent callers share one request.

        Raises:
            MissingStream: if the stream does not exist.
            StoreError, ConnectionFailed: if the leader gives no answer.
        """
        async with self._asking:
            now = time.monotonic()
            if self._facts is None or now - self._facts[0] > self._facts_age:
                found = await self._store.facts()
                if self._facts is None or self._facts[1].epoch != found.epoch:
                    self._restart(found)
                self._facts = (now, found)
            return self._facts[1]

    async def horizon(self) -> int:
        """Return the sequence after which every deletion still has its tombstone.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        now = time.monotonic()
        if self._horizon is None or now - self._horizon[0] > min(_HORIZON_AGE, self._window * _MARGIN / 2):
            facts = await self.facts()
            kept = datetime.now(UTC) - timedelta(seconds=self._window * (1 - _MARGIN))
            if facts.created >= kept:
                sequence = 0
            else:
                page = await self._store.page(objects.EVERYTHING, kept, batch=1)
                sequence = objects.seq_of(page.messages[0]) - 1 if page.messages else facts.last
            self._horizon = (now, sequence)
        return self._horizon[1]

    async def run(self) -> None:
        """Follow the stream until cancelled. While it cannot be read, `fresh` grows old."""
        told = False
        while True:
            try:
                await self.advance()
                told = False
            except (StoreError, ConnectionFailed) as error:
                if not told:
                    _log.warning("the stream of objects cannot be read: %s", error)
                told = True
            await asyncio.sleep(self._poll)

    async def advance(self) -> None:
        """Read new changes.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        async with self._moving:
            facts = await self.facts()
            horizon = await self.horizon()
            if self.position < horizon:
                # The last read is longer ago than tombstones stay: changes in between may be lost.
                self._forget_before(horizon)
            more = True
            while more:
                page = await self._store.page(objects.EVERYTHING, self.position + 1)
                more = page.more
                now = time.monotonic()
                for message in page.messages:
                    self.position = objects.seq_of(message)
                    change = objects.read(message)
                    if change is None:
                        continue
                    if change.ttl is not None and change.ttl < self._window:
                        # Some tombstones expire sooner: the horizon has to hold for all of them.
                        self._window, self._horizon = change.ttl, None
                    if change.tenant not in self.recent:
                        self.recent[change.tenant] = Recent(self._start)
                    self.recent[change.tenant].add(change.seq, now)
                self.fresh = now
            if facts.last > self.position and await self._nothing_left(facts):
                # The last messages no longer exist, such as expired tombstones. Other instances may start after them.
                self.position = facts.last
            self._forget(time.monotonic())

    async def _nothing_left(self, facts: ObjectFacts) -> bool:
        """Return whether no messages are left between the position and the leader's last sequence before the read.

        Raises:
            StoreError, ConnectionFailed: if the leader does not answer.
        """
        return facts.replicas == 1 or await self._store.last(objects.EVERYTHING) <= self.position

    def changes(self, tenant: str, since: int) -> tuple[int, list[int]]:
        """Return the sequence after which a tenant's changes are known, at least `since`, and their sequences."""
        recent = self.recent.get(tenant)
        if recent is None:
            return max(since, self._start), []
        since = max(since, recent.floor)
        return since, [seq for seq in recent.seqs if seq > since]

    def head(self, tenant: str) -> int:
        """Return the highest recent sequence of a tenant; 0 if it had no recent changes."""
        recent = self.recent.get(tenant)
        return recent.head if recent else 0

    def _restart(self, facts: ObjectFacts) -> None:
        self._forget_before(facts.last)
        self._horizon = None
        for listener in self.on_epoch:
            listener()

    def _forget_before(self, sequence: int) -> None:
        """Forget all tenants' changes up to a sequence."""
        self.position = self._start = sequence
        self.recent.clear()

    def _forget(self, now: float) -> None:
        gone = [tenant for tenant, recent in self.recent.items() if now - recent.at > _FORGET]
        if gone:
            # Changes of these tenants are remembered again from here on.
            self._start = max(self._start, *(self.recent[tenant].head for tenant in gone))
            for tenant in gone:
                del self.recent[tenant]
