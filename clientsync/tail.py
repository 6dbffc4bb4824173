"""The end of the stream `OBJECTS`, followed by asking: what changed lately, whose it is, and up to where that is known.

A direct get may be answered by a replica that is behind. Its answer is then a prefix of the truth: complete up to
the last message it holds. So the position that is reached by asking again and again from the last message on never
passes over a change, whichever replica answers.
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
from headway.clientsync.objects import Facts, Store

POLL: Final = 0.5
"""Seconds between two looks."""
FACTS_AGE: Final = 1.0
"""Seconds for which what the leader said about the stream is believed."""
KEPT: Final = 1024
"""Changes remembered for each tenant. A beacon of one that has more is shorter, and its pages ask."""
_FORGET: Final = 60.0
"""Seconds after its last change that a tenant's changes are remembered."""
_HORIZON_AGE: Final = 60.0
_MARGIN: Final = 0.04
"""Share of the tombstones' life by which the horizon is early, for clocks, paging and the server's own delay."""

_log = logging.getLogger("headway.clientsync")


class Recent:
    """The latest changes of one tenant.

    Attributes:
        head: the highest sequence.
        at: when it was seen, monotonic seconds.
        seqs: sequences, ascending.
        floor: changes up to here are not remembered.
    """

    __slots__ = ("at", "floor", "head", "seqs")

    def __init__(self, floor: int) -> None:
        self.head = 0
        self.at = 0.0
        self.seqs: deque[int] = deque()
        self.floor = floor

    def add(self, seq: int, now: float) -> None:
        """A change."""
        self.seqs.append(seq)
        self.head, self.at = seq, now
        while len(self.seqs) > KEPT:
            self.floor = self.seqs.popleft()


class Tail:
    """Follows the stream. `run` it; ask it any time.

    Args:
        store: the stream.
        tombstones: seconds that tombstones stay.
        poll: seconds between two looks.
        facts_age: seconds for which what the leader said about the stream is believed.

    Attributes:
        position: everything up to here has been seen.
        recent: the latest changes by tenant.
        fresh: when the position was last known to be that of some replica, monotonic seconds; 0 is never.
    """

    def __init__(
        self, store: Store, *, tombstones: float = TOMBSTONES, poll: float = POLL, facts_age: float = FACTS_AGE
    ) -> None:
        self._store = store
        self._facts_age = facts_age
        self._poll = poll
        self._window = tombstones
        self._facts: tuple[float, Facts] | None = None
        self._asking = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._horizon: tuple[float, int] | None = None
        self._start = 0
        self.position = 0
        self.fresh = 0.0
        self.recent: dict[str, Recent] = {}
        self.on_epoch: list[Callable[[], None]] = []
        """Called when the stream is another one, and all that is remembered of it is void."""

    async def facts(self) -> Facts:
        """The stream as its leader told it a moment ago. Those who ask at once share one question.

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
        """Everything that was deleted after this sequence still has its tombstone.

        Raises:
            StoreError, ConnectionFailed: if it cannot be found out.
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
                    _log.warning("the objects cannot be followed for now: %s", error)
                told = True
            await asyncio.sleep(self._poll)

    async def advance(self) -> None:
        """See what is new.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        async with self._moving:
            facts = await self.facts()
            horizon = await self.horizon()
            if self.position < horizon:
                # We have not looked for longer than tombstones stay: which changes there were, nobody can tell.
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
                        # Somebody writes tombstones that end sooner: what we can promise is what holds for all.
                        self._window, self._horizon = change.ttl, None
                    if change.tenant not in self.recent:
                        self.recent[change.tenant] = Recent(self._start)
                    self.recent[change.tenant].add(change.seq, now)
                self.fresh = now
            if facts.last > self.position and await self._nothing_left(facts):
                # The last messages are gone, as ended tombstones are. Other instances may start behind them.
                self.position = facts.last
            self._forget(time.monotonic())

    async def _nothing_left(self, facts: Facts) -> bool:
        """Whether there is nothing between our position and what the leader said was the last sequence before we read.

        Raises:
            StoreError, ConnectionFailed: if the leader does not tell.
        """
        return facts.replicas == 1 or await self._store.last(objects.EVERYTHING) <= self.position

    def changes(self, tenant: str, since: int) -> tuple[int, list[int]]:
        """The sequences of a tenant's changes after `since`, and after which sequence they are really complete."""
        recent = self.recent.get(tenant)
        if recent is None:
            return max(since, self._start), []
        since = max(since, recent.floor)
        return since, [seq for seq in recent.seqs if seq > since]

    def head(self, tenant: str) -> int:
        """The highest sequence of a tenant that was seen lately; 0 if it was quiet."""
        recent = self.recent.get(tenant)
        return recent.head if recent else 0

    def _restart(self, facts: Facts) -> None:
        self._forget_before(facts.last)
        self._horizon = None
        for listener in self.on_epoch:
            listener()

    def _forget_before(self, sequence: int) -> None:
        """Changes up to a sequence are not remembered, whoever's they were."""
        self.position = self._start = sequence
        self.recent.clear()

    def _forget(self, now: float) -> None:
        gone = [tenant for tenant, recent in self.recent.items() if now - recent.at > _FORGET]
        if gone:
            # Whoever is met again later has its changes remembered from here on.
            self._start = max(self._start, *(self.recent[tenant].head for tenant in gone))
            for tenant in gone:
                del self.recent[tenant]
