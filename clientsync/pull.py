"""`sync.<tenant>.pull`: what changed since, in pages. Nothing is held between two requests; any instance answers any.

A page is read by direct gets, one for each type, and merged in the order of sequences. They are read at different
moments and end at different sequences, so a page promises no more than what all of them hold: nothing is ever passed
over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson

from headway.bus.errors import ConnectionFailed, StoreError
from headway.bus.nats.values import Page
from headway.bus.wire import subjects
from headway.clientsync import objects
from headway.clientsync.objects import Change, Store
from headway.clientsync.protocol import MAX_REPLY, Pull, matches, shaped
from headway.clientsync.tail import Tail
from headway.clientsync.views import View, Views, decoded, filters, is_json

AGAIN: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between tries to find a replica that is not behind its leader."""
_FEWEST: Final = 32
"""Changes of one type that are read for a page of many types, at least."""
_PAGE_BYTES: Final = 1 << 20
"""About how many bytes of one type are read for a page. A larger single object comes all the same."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of one filter.

    Attributes:
        changes: in order.
        more: whether there are more behind them.
        last: the sequence of the last one; 0 if there is none.
        leader: the last sequence that the leader had before it was read; 0 if it has none, or was not asked.
    """

    changes: list[Change]
    more: bool
    last: int
    leader: int

    @classmethod
    def of(cls, page: Page, leader: int) -> _Part:
        """What a page holds."""
        changes = [change for message in page.messages if (change := objects.read(message))]
        return cls(changes, page.more, objects.seq_of(page.messages[-1]) if page.messages else 0, leader)

    def behind(self, since: int) -> bool:
        """Whether who answered is behind the leader."""
        return not self.more and max(self.last, since) < self.leader

    def end(self, known: int) -> int:
        """Complete up to here, if everything up to `known` was there to be read."""
        return self.last if self.more else max(known, self.last)


class Puller:
    """Answers pulls.

    Args:
        store: the stream.
        tail: knows the stream's identity and how far it is known.
        again: seconds between tries to find a replica that is not behind its leader.
    """

    def __init__(self, store: Store, tail: Tail, *, again: tuple[float, ...] = AGAIN) -> None:
        self._store = store
        self._tail = tail
        self._again = again
        self._views = Views(store)
        tail.on_epoch.append(self._views.clear)

    async def answer(self, tenant: str, request: Pull) -> dict[str, Any]:
        """One page.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read just now.
        """
        facts = await self._tail.facts()
        horizon = await self._tail.horizon()
        reply: dict[str, Any] = {"epoch": facts.epoch, "horizon": horizon, "head": 0, "reset": False}
        if await self._is_void(request, facts.epoch, horizon):
            return {**reply, "reset": True, "changes": [], "next": 0, "more": False, "base": None, "checksum": None}
        base = self._tail.position if request.snapshot and request.base is None else request.base
        views = await self._views.of(tenant, request.types, request.where) if request.checksum else None
        parts, known = await self._read(tenant, request, replicated=facts.replicas > 1)
        next_ = max(request.since, min(part.end(known) for part in parts))
        more = any(part.more for part in parts)
        if (more and next_ == request.since) or (not more and next_ < horizon):
            # Replicas are behind, or there is no leader: what a page was told to be its position would be void at once.
            raise StoreError("it is not known how far the objects can be told", remedy="try again after a moment")
        found = sorted((change for part in parts for change in part.changes), key=lambda change: change.seq)
        # Of several replicas an earlier page may have come from one that was behind: then nothing may be left out.
        unneeded = base if base is not None and facts.replicas == 1 else 0
        sent, full = _fill([change for change in found if not more or change.seq <= next_], request, unneeded)
        if full is not None:
            next_, more = min(next_, full), True
        return {
            **reply,
            "head": max(self._tail.head(tenant), *(part.last for part in parts)),
            "changes": sent,
            "next": next_,
            "more": more,
            "base": base if more else None,
            "checksum": None if more or views is None else _checksum(views, parts, next_),
        }

    async def revision(self, tenant: str, type_: str, id_: str) -> int:
        """Return the revision of an object's last change, its deletion included; 0 if there was none.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read just now.
        """
        return await self._store.last(subjects.obj(tenant, type_, id_))

    async def _is_void(self, request: Pull, epoch: str, horizon: int) -> bool:
        """Whether what the page has cannot be brought up to date."""
        if request.since == 0:
            return False
        if request.epoch != epoch or max(request.since, request.base or 0) < horizon:
            return True
        if request.since <= self._tail.position:
            return False
        # Another instance may have seen more than we; if the leader has not, the stream was cut back.
        return request.since > (await self._store.facts()).last

    async def _read(self, tenant: str, request: Pull, *, replicated: bool) -> tuple[list[_Part], int]:
        """Read a page of each type, and up to which sequence of the stream they are complete at least."""
        wanted = list(filters(tenant, request.types).values())
        if len(wanted) > 1 and self._tail.position <= request.since:
            await self._tail.advance()  # else nothing could be said about types that have nothing new
        known = self._tail.position
        leader = [0] * len(wanted)
        if replicated:
            try:
                leader = await asyncio.gather(*(self._store.last(subject) for subject in wanted))
            except (StoreError, ConnectionFailed):
                known = 0  # no leader just now: what is read is true, but nothing can be said about its end
        batch = max(_FEWEST, 2 * request.limit // len(wanted)) if len(wanted) > 1 else request.limit
        for delay in (*self._again, None):
            pages = await asyncio.gather(
                *(
                    self._store.page(subject, request.since + 1, batch=batch, max_bytes=_PAGE_BYTES)
                    for subject in wanted
                )
            )
            parts = [_Part.of(page, last) for page, last in zip(pages, leader, strict=True)]
            if not any(part.behind(request.since) for part in parts):
                return parts, known
            if delay is not None:
                await asyncio.sleep(delay)
        return parts, 0


def _checksum(views: list[View], parts: list[_Part], next_: int) -> dict[str, Any] | None:
    """The checksum of views as of `next_`; None if something has changed since they were read."""
    for view, part in zip(views, parts, strict=True):
        if not max(part.last, part.leader) <= view.position <= next_:
            return None
    total = sum(view.found.sum for view in views) % (1 << 64)
    return {"count": sum(view.found.count for view in views), "sum": f"{total:016x}"}


def _fill(changes: list[Change], request: Pull, unneeded: int) -> tuple[list[Any], int | None]:
    """What is sent of the changes, and the sequence of the last one if not all fit.

    Args:
        changes: in order.
        request: what was asked.
        unneeded: up to here, the page cannot have what it would be told to drop: it is in the middle of a snapshot.
    """
    sent: list[Any] = []
    size = 0
    for index, change in enumerate(changes):
        item = _item(change, request, needed=change.seq > unneeded)
        if item is not None:
            sent.append(item)
            size += len(change.data) + 64
        if (len(sent) >= request.limit or size > MAX_REPLY) and index + 1 < len(changes):
            return sent, change.seq
    return sent, None


def _item(change: Change, request: Pull, *, needed: bool) -> dict[str, Any] | None:
    """One change as it is sent; None for one that says to drop what the page cannot have."""
    item: dict[str, Any] = {"type": change.type, "id": change.id, "seq": change.seq}
    if change.deleted:
        return {**item, "deleted": True} if needed else None
    value = decoded(change.data)
    if not is_json(value) or not matches(value, (request.where or {}).get(change.type)):
        return {**item, "gone": True} if needed else None
    fields = (request.fields or {}).get(change.type)
    return {**item, "value": orjson.Fragment(change.data) if fields is None else shaped(value, fields)}
