"""Checksums of views: the objects of a type that match a filter, kept up to date by reading changes.

Views are a cache that can be rebuilt from the stream at any time. Their number and their total size are bounded, also
for each tenant; the least recently used view is dropped first.
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
MAX_VIEWS: Final = 10_000
"""Maximum number of views; an empty one takes about 2 KB."""
MAX_OF_A_TENANT: Final = 500
"""Maximum number of views of one tenant."""
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
        counted: how many of the objects its cache has counted.
    """

    def __init__(self, subject: str, where: Where | None) -> None:
        self.subject = subject
        self.found = Checksum()
        self.position = 0
        self.counted = 0
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
    """A cache of recently requested views.

    Args:
        store: the stream of the objects.
        most, most_of_a_tenant: maximum number of views, of all tenants and of one.
    """

    def __init__(self, store: Store, *, most: int = MAX_VIEWS, most_of_a_tenant: int = MAX_OF_A_TENANT) -> None:
        self._store = store
        self._most = most
        self._most_of_a_tenant = most_of_a_tenant
        self._views: OrderedDict[tuple[str, bytes], View] = OrderedDict()
        self._of: dict[str, OrderedDict[bytes, None]] = {}
        self._objects = 0
        self._builds = Rates(*_BUILDS)

    def clear(self) -> None:
        """Drop all views, because the stream was recreated."""
        self._views.clear()
        self._of.clear()
        self._objects = 0

    def __len__(self) -> int:
        return len(self._views)

    async def of(self, tenant: str, types: list[str] | None, where: dict[str, Where] | None) -> list[View] | None:
        """Return the views of a request, up to date, in the order of `filters`.

        Returns None if a view changes faster than it is read, if one is too large, or if the tenant requests too many
        new views.

        Raises:
            StoreError, ConnectionFailed: if the stream cannot be read.
        """
        found: dict[bytes, View] = {}
        for type_, subject in filters(tenant, types).items():
            condition = (where or {}).get(type_) if type_ else None
            key = orjson.dumps([subject, condition or None], option=orjson.OPT_SORT_KEYS)
            view = self._view(tenant, key, subject, condition)
            if view is None:
                return None
            found[key] = view
        current = [await view.advance(self._store) for view in found.values()]
        self._count(tenant, found)
        self._trim(tenant)
        return list(found.values()) if all(current) else None

    def _view(self, tenant: str, key: bytes, subject: str, where: Where | None) -> View | None:
        own = self._of.get(tenant, OrderedDict())
        if key not in own:
            if self._builds.take(tenant, time.monotonic()) > 0:
                return None
            self._of[tenant] = own
            own[key] = None
            self._views[tenant, key] = View(subject, where)
        own.move_to_end(key)
        self._views.move_to_end((tenant, key))
        return self._views[tenant, key]

    def _count(self, tenant: str, found: dict[bytes, View]) -> None:
        """Update the number of objects, except for views that were dropped while they were read."""
        for key, view in found.items():
            if self._views.get((tenant, key)) is view:
                self._objects += view.found.count - view.counted
                view.counted = view.found.count

    def _trim(self, tenant: str) -> None:
        while len(self._of.get(tenant, ())) > self._most_of_a_tenant:
            self._drop(tenant, next(iter(self._of[tenant])))
        while len(self._views) > self._most or (len(self._views) > 1 and self._objects > MAX_OBJECTS):
            self._drop(*next(iter(self._views)))

    def _drop(self, tenant: str, key: bytes) -> None:
        self._objects -= self._views.pop((tenant, key)).counted
        del self._of[tenant][key]
        if not self._of[tenant]:
            del self._of[tenant]


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
