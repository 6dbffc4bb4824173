"""A client's copy of a tenant's objects: the reference implementation of the protocol's client side.

`Replica` implements the rules without I/O: pass it what arrives, and ask it what to send.

    since       all changes up to this sequence are included
    seen        later sequences that arrived live; a beacon that lists no others advances `since`

A live event at or below `since` is ignored: its change is already included, or was replaced. Above it, the higher
sequence wins for each object, and a deleted object keeps its sequence until `since` has passed it. So the order in
which messages arrive does not matter. During a snapshot, the previous objects stay visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from headway.clientsync.checksum import digest
from headway.clientsync.order import OrderKey, order_key
from headway.clientsync.protocol import Where, matches

GRACE: Final = 1.0
"""Seconds to wait for a live event that a beacon lists."""
SILENCE: Final = 10.0
"""Seconds without a beacon after which the client pulls."""
MISMATCHES: Final = 2
"""Number of consecutive wrong checksums after which everything is loaded again."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """An object.

    Attributes:
        seq: its revision.
        value: its value; None if it is absent.
        there: whether it exists and matches.
    """

    seq: int
    value: Any
    there: bool


@dataclass(slots=True)
class Replica:
    """The objects of a view.

    Args:
        types: types of the objects; None for all.
        where: conditions by type.
        limit: maximum number of changes in a page.

    Attributes:
        epoch, since, base: as in the protocol.
        rows: objects by type and id.
        old: objects from before the current snapshot.
        pulls: number of requests made.
    """

    types: list[str] | None = None
    where: Mapping[str, Where] = field(default_factory=dict)
    limit: int = 500
    epoch: str | None = None
    since: int = 0
    base: int | None = None
    rows: dict[Key, Row] = field(default_factory=dict)
    old: dict[Key, Row] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    pulls: int = 0
    _gone: dict[Key, int] = field(default_factory=dict)
    _pulling: bool = False
    _wanted: bool = True
    _check: bool = False
    _wrong: int = 0
    _missing_since: float | None = None
    _heard: float | None = None

    @property
    def snapshot(self) -> bool:
        """Whether a snapshot is being loaded."""
        return self.since == 0 or self.base is not None

    def view(self) -> dict[Key, Any]:
        """Return the visible objects."""
        shown = {key: row.value for key, row in self.old.items() if row.there and key not in self.rows}
        return shown | {key: row.value for key, row in self.rows.items() if row.there}

    def ordered(self, type_: str, by: str, *, descending: bool = False) -> list[tuple[str, Any]]:
        """Return the objects of a type as pages order them: by a field, then by id.

        Args:
            type_: type of the objects.
            by: the field; a missing field is ordered like null.
            descending: from the highest to the lowest.

        Returns:
            Ids and values.
        """
        found = [(id_, value) for (kind, id_), value in self.view().items() if kind == type_]

        def position(item: tuple[str, Any]) -> tuple[OrderKey, str]:
            return order_key(item[1].get(by) if isinstance(item[1], dict) else None), item[0]

        return sorted(found, key=position, reverse=descending)

    def connected(self, now: float) -> None:
        """Record that the connection and its subscription are established, so that missed changes are requested.

        Args:
            now: monotonic seconds.
        """
        self._pulling, self._wanted, self._heard, self._missing_since = False, True, now, None

    def live(self, type_: str, id_: str, seq: int, value: Any, *, deleted: bool) -> None:
        """Apply a live event."""
        if seq <= self.since:
            return
        self.seen.add(seq)
        if self.epoch is None:
            return  # it may be from an earlier epoch: the first answer would remove it again
        self._put((type_, id_), seq, value, there=not deleted)

    def beacon(self, said: Mapping[str, Any], now: float) -> None:
        """Apply a beacon."""
        self._heard = now
        if self._pulling:
            return  # the answer may contain changes that `since` would already have passed
        if said["epoch"] != self.epoch or said["from"] > self.since:
            self._wanted = True
            return
        if self.snapshot or said["upto"] <= self.since:
            return
        listed = list(accumulate(said["changes"], initial=said["from"]))[1:]
        if all(seq in self.seen for seq in listed if seq > self.since):
            self._advance(said["upto"])
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now

    def check(self) -> None:
        """Have the next pull compare checksums."""
        self._check = self._wanted = True

    def request(self, now: float) -> dict[str, Any] | None:
        """Return the request to send now; None if none is needed, or an answer is pending."""
        late = self._missing_since is not None and now - self._missing_since >= GRACE
        silent = self._heard is not None and now - self._heard >= SILENCE
        if self._pulling or not (self._wanted or late or silent):
            return None
        self._pulling, self._wanted, self._missing_since = True, False, None
        self._heard = now if silent else self._heard
        self.pulls += 1
        if self.since == 0:
            self._set_aside()
        asked: dict[str, Any] = {"since": self.since, "epoch": self.epoch, "base": self.base, "limit": self.limit}
        if self.types is not None:
            asked["types"] = self.types
        if self.where:
            asked["where"] = self.where
        if self._check:
            asked["checksum"] = True
        return asked

    def failed(self) -> None:
        """Record that a request failed, so that it is repeated. Call `request` after a moment."""
        self._pulling, self._wanted = False, True

    def reply(self, said: Mapping[str, Any]) -> None:
        """Apply the answer to a request."""
        self._pulling = False
        if said["reset"]:
            self._start_over()
            return
        if said["epoch"] != self.epoch:
            self._begin(said["epoch"])
        for item in said["changes"]:
            self._put((item["type"], item["id"]), item["seq"], item.get("value"), there="value" in item)
        snapshot = self.snapshot
        self._advance(said["next"])
        self.base = said["base"]
        if said["more"]:
            self._wanted = True
            return
        self._missing_since = None  # the next beacon lists what is still missing
        if snapshot:
            self.old = {}
        if self._check and said["checksum"] is not None:
            self._compare(said["checksum"])

    def _put(self, key: Key, seq: int, value: Any, *, there: bool) -> None:
        type_ = key[0]
        if self.types is not None and type_ not in self.types:
            return
        row = self.rows.get(key)
        if row is None or seq > row.seq:
            there = there and matches(value, self.where.get(type_))
            self.rows[key] = Row(seq, value if there else None, there)
            if there:
                self._gone.pop(key, None)
            else:
                self._gone[key] = seq

    def _advance(self, upto: int) -> None:
        if upto <= self.since:
            return
        self.since = upto
        self.seen = {seq for seq in self.seen if seq > upto}
        if not self.snapshot:
            for key in [key for key, seq in self._gone.items() if seq <= upto]:
                del self.rows[key], self._gone[key]

    def _start_over(self) -> None:
        """Request everything again."""
        self.since, self.base, self.epoch = 0, None, None
        self._wanted, self._wrong = True, 0

    def _set_aside(self) -> None:
        """Keep the objects visible during a snapshot, but outside of it, since a snapshot has no tombstones."""
        self.old = {key: row for key, row in (self.old | self.rows).items() if row.there}
        self.rows, self.seen, self._gone = {}, set(), {}

    def _begin(self, epoch: str) -> None:
        """Start an epoch. Live events from before may be from an earlier one, so they are requested again."""
        self.epoch = epoch
        self._wanted = bool(self.seen)
        self.rows, self.seen, self._gone = {}, set(), {}

    def _compare(self, expected: Mapping[str, Any]) -> None:
        if any(row.seq > self.since for row in self.rows.values()):
            return  # objects have changed since, so the checksum does not apply
        self._check = False
        if checksum(self.rows) == (expected["count"], expected["sum"]):
            self._wrong = 0
            return
        self._wrong += 1
        if self._wrong >= MISMATCHES:
            self._start_over()
        else:
            self.check()


def checksum(rows: Mapping[Key, Row]) -> tuple[int, str]:
    """Return count and sum of the existing objects, in the protocol's form."""
    there: Iterable[tuple[Key, Row]] = [(key, row) for key, row in rows.items() if row.there]
    total = sum(digest(*key, row.seq) for key, row in there) % (1 << 64)
    return len(list(there)), f"{total:016x}"
