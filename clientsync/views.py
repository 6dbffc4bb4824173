"""Checksums of views: the objects of a type that match a filter, kept up to date by reading changes.

Views are a cache that can be rebuilt from the stream at any time. Their total size is bounded; the least recently used
view is dropped first.
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
"""Maximum number of objects in all views together; each takes about 200 bytes."""
_BUILDS: Final = (1.0, 20.0)
"""New views per second of a tenant, sustained and at once: each one reads all objects of its type."""
_PAGE_BYTES: Final = 1 << 20
_ROUNDS: Final = 5
"""Maximum reads of a view to its end. A view that changes faster than it is read has no checksum for now."""


def filters(tenant: str, types: list[str] | None) -> dict[str | None, str]:
    """Return the subject filters of a request: one for each type, or a single one for all types."""
    if types is None:
        return {None: subjects.obj_all(tenant)}
    return {type_: subjects.obj_filter(tenant, type_) for type_ in sorted(set(types))}


class View:
    """The objects of one subject filter that match a condition.

    Args:
        subject: the subject filter.
        where: the condition.

    Attributes:
        found: the matching objects.
        position: the last sequence that was read.
    """

    def __init__(self, subject: str, where: Where | None) -> None:
        self.subject = subject
        self.found = Checksum()
        self.position = 0
        self._where = where
        self._reading = asyncio.Lock()

    async def advance(self, store: Store) -> bool:
        """Read new changes; return False if they do not end, or the view is too large.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        async with self._reading:
            for _ in range(_ROUNDS):
                if not await self._read(store):
                    return self.found.count < MAX_OBJECTS
            return False

    async def _read(self, store: Store) -> bool:
        """Read to the end, and return whether there was anything.

        An object that changes meanwhile moves behind the end. So the view is exact at its position only when another
        read finds nothing.
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
    """A cache of recently requested views."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._views: OrderedDict[bytes, View] = OrderedDict()
        self._builds = Rates(*_BUILDS)

    def clear(self) -> None:
        """Drop all views, because the stream was recreated."""
        self._views.clear()

    async def of(self, tenant: str, types: list[str] | None, where: dict[str, Where] | None) -> list[View] | None:
        """Return the views of a request, up to date, in the order of `filters`.

        Returns None if a view changes faster than it is read, if one is too large, or if the tenant requests too many
        new views.

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
    """Return an object's value; if it is not JSON (written by other software), a marker that equals nothing."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _NOTHING


def is_json(value: Any) -> bool:
    """Return whether `decoded` could parse it."""
    return value is not _NOTHING
