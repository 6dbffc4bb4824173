"""Answer `sync.<tenant>.pull`: the changes after a sequence, in pages. Stateless, so any instance can answer.

A page is read by direct gets, one for each type, and merged in the order of sequences. They are read at different
times and end at different sequences, so a page ends where the first of them ends: no change is ever skipped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson

from headway.bus.errors import ConnectionFailed, StoreError
from headway.bus.nats.values import ValuePage
from headway.bus.wire import subjects
from headway.clientsync import objects
from headway.clientsync.objects import Change, Store
from headway.clientsync.protocol import MAX_REPLY, Pull, matches, shaped
from headway.clientsync.tail import Tail
from headway.clientsync.views import View, Views, decoded, filters, is_json

AGAIN: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts to reach a replica that is not behind its leader."""
_FEWEST: Final = 32
"""Minimum number of changes that are read of each type for a page of many types."""
_PAGE_BYTES: Final = 1 << 20
"""Approximate maximum of bytes read of one type for a page. A single larger object is read, too."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The messages read for one filter.

    Attributes:
        changes: the changes, in order.
        more: whether more follow.
        last: the sequence of the last message; 0 if there is none.
        leader: the leader's last sequence before the read; 0 if it has none, or was not asked.
    """

    changes: list[Change]
    more: bool
    last: int
    leader: int

    @classmethod
    def of(cls, page: ValuePage, leader: int) -> _Part:
        """Return the part that a page contains."""
        changes = [change for message in page.messages if (change := objects.read(message))]
        return cls(changes, page.more, objects.seq_of(page.messages[-1]) if page.messages else 0, leader)

    def behind(self, since: int) -> bool:
        """Return whether the replica that answered is behind the leader."""
        return not self.more and max(self.last, since) < self.leader

    def end(self, known: int) -> int:
        """Return the sequence up to which this part is complete, if all changes up to `known` could be read."""
        return self.last if self.more else max(known, self.last)


class Puller:
    """Answers pulls.

    Args:
        store: the stream.
        tail: provides the stream's epoch, horizon and position.
        again: seconds between attempts to reach a replica that is not behind its leader.
    """

    def __init__(self, store: Store, tail: Tail, *, again: tuple[float, ...] = AGAIN) -> None:
        self._store = store
        self._tail = tail
        self._again = again
        self._views = Views(store)
        tail.on_epoch.append(self._views.clear)

    async def answer(self, tenant: str, request: Pull) -> dict[str, Any]:
        """Return one page of changes.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read now.
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
            # Replicas are behind, or there is no leader: the position sent to the page would be void at once.
            raise StoreError("the position in the stream of objects is unknown", remedy="try again after a moment")
        found = sorted((change for part in parts for change in part.changes), key=lambda change: change.seq)
        # With several replicas, an earlier page may have come from one that was behind: then send every deletion.
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
        """Return the revision of an object's last change, including its deletion; 0 if there was none.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read now.
        """
        return await self._store.last(subjects.obj(tenant, type_, id_))

    async def _is_void(self, request: Pull, epoch: str, horizon: int) -> bool:
        """Return whether the page's state cannot be updated, so that it has to start over."""
        if request.since == 0:
            return False
        if request.epoch != epoch or max(request.since, request.base or 0) < horizon:
            return True
        if request.since <= self._tail.position:
            return False
        # Another instance may have read further than this one. If the leader has less, the stream was truncated.
        return request.since > (await self._store.facts()).last

    async def _read(self, tenant: str, request: Pull, *, replicated: bool) -> tuple[list[_Part], int]:
        """Return a part for each type, and the sequence up to which the stream was known before the read."""
        wanted = list(filters(tenant, request.types).values())
        if len(wanted) > 1 and self._tail.position <= request.since:
            await self._tail.advance()  # otherwise the end of types without new changes is unknown
        known = self._tail.position
        leader = [0] * len(wanted)
        if replicated:
            try:
                leader = await asyncio.gather(*(self._store.last(subject) for subject in wanted))
            except (StoreError, ConnectionFailed):
                known = 0  # no leader: what is read is correct, but its end is unknown
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
    """Return the checksum of views at `next_`; None if something has changed since they were read."""
    for view, part in zip(views, parts, strict=True):
        if not max(part.last, part.leader) <= view.position <= next_:
            return None
    total = sum(view.found.sum for view in views) % (1 << 64)
    return {"count": sum(view.found.count for view in views), "sum": f"{total:016x}"}


def _fill(changes: list[Change], request: Pull, unneeded: int) -> tuple[list[Any], int | None]:
    """Return the items of a reply, and the sequence of the last one if not all fit.

    Args:
        changes: the changes, in order.
        request: the request.
        unneeded: deletions up to this sequence are not sent: during a snapshot the page cannot have these objects.
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
    """Return a change as it is sent; None for a removal that the page does not need."""
    item: dict[str, Any] = {"type": change.type, "id": change.id, "seq": change.seq}
    if change.deleted:
        return {**item, "deleted": True} if needed else None
    value = decoded(change.data)
    if not is_json(value) or not matches(value, (request.where or {}).get(change.type)):
        return {**item, "gone": True} if needed else None
    fields = (request.fields or {}).get(change.type)
    return {**item, "value": orjson.Fragment(change.data) if fields is None else shaped(value, fields)}
