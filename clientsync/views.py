"""Checksums of views: which objects of a type match, kept up to date by reading what changed.

They are a cache: made again from the stream whenever needed. What they hold together is bounded; the view that was
unused for longest is dropped first.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, Final

import orjson

from headway.bus.client.limits import Rates
from headway.bus.wire import subjects
from headway.clientsync import objects
from headway.clientsync.checksum import Checksum
from headway.clientsync.objects import Store
from headway.clientsync.protocol import Where, matches

MAX_OBJECTS: Final = 1_000_000
"""Objects in all views together; about 200 bytes each."""
_BUILDS: Final = (1.0, 20.0)
"""Views that are made for a tenant in a second, in the long run and at once: each one reads all objects of its type."""
_PAGE_BYTES: Final = 1 << 20
_ROUNDS: Final = 5
"""Times that a view is read to its end. One that changes faster than it is read has no checksum just then."""


def filters(tenant: str, types: list[str] | None) -> dict[str | None, str]:
    """What is read of the stream for a request: a filter for each type, or one for all of them."""
    if types is None:
        return {None: subjects.obj_all(tenant)}
    return {type_: subjects.obj_filter(tenant, type_) for type_ in sorted(set(types))}


class View:
    """The objects of one filter that match.

    Args:
        subject: the filter.
        where: which of them match.

    Attributes:
        found: them.
        position: what was read.
    """

    def __init__(self, subject: str, where: Where | None) -> None:
        self.subject = subject
        self.found = Checksum()
        self.position = 0
        self._where = where
        self._reading = asyncio.Lock()

    async def advance(self, store: Store) -> bool:
        """Read what is new; False if there is always more, or more than is kept.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        async with self._reading:
            for _ in range(_ROUNDS):
                if not await self._read(store):
                    return self.found.count < MAX_OBJECTS
            return False

    async def _read(self, store: Store) -> bool:
        """Read to the end; whether there was anything. An object that is changed meanwhile comes after the end, so the
        view is exactly what its position says only when reading on finds nothing.
        """
        any_, more = False, True
        while more and self.found.count < MAX_OBJECTS:
            page = await store.page(self.subject, self.position + 1, max_bytes=_PAGE_BYTES)
            more = page.more
            for message in page.messages:
                any_ = True
                self.position = objects.seq_of(message)
                change = objects.read(message)
                if change is None:
                    continue
                value = _NOTHING if change.deleted else decoded(change.data)
                if is_json(value) and matches(value, self._where):
                    self.found.put(change.type, change.id, change.seq)
                else:
                    self.found.drop(change.type, change.id)
        return any_


class Views:
    """The views that were asked for lately."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._views: OrderedDict[bytes, View] = OrderedDict()
        self._builds = Rates(*_BUILDS)

    def clear(self) -> None:
        """Forget them: the stream is another one."""
        self._views.clear()

    async def of(self, tenant: str, types: list[str] | None, where: dict[str, Where] | None) -> list[View] | None:
        """The views of a request, up to date, in the order of `filters`; None if one changes faster than it is read,
        is too large, or if the tenant asks for ever new ones.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        found = []
        for type_, subject in filters(tenant, types).items():
            view = self._view(tenant, subject, (where or {}).get(type_) if type_ else None)
            if view is None:
                return None
            found.append(view)
        current = [await view.advance(self._store) for view in found]
        self._trim()
        return found if all(current) else None

    def _view(self, tenant: str, subject: str, where: Where | None) -> View | None:
        key = orjson.dumps([subject, where or None], option=orjson.OPT_SORT_KEYS)
        if key not in self._views:
            if self._builds.take(tenant, time.monotonic()) > 0:
                return None
            self._views[key] = View(subject, where)
        self._views.move_to_end(key)
        return self._views[key]

    def _trim(self) -> None:
        while len(self._views) > 1 and sum(view.found.count for view in self._views.values()) > MAX_OBJECTS:
            self._views.popitem(last=False)


_NOTHING: Final = object()


def decoded(data: bytes) -> Any:
    """An object's value; something that equals nothing if it is no JSON (written past our own code)."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _NOTHING


def is_json(value: Any) -> bool:
    """Whether `decoded` could read it."""
    return value is not _NOTHING
