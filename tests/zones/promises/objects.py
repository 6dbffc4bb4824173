"""Objects: what is acknowledged stays, sequences never go back, and of several compare-and-sets one wins.

put       asked {"id", "value", "expect"}; a deletion's value is null      ok {"revision"}
view      seen  {"id", "revision", "value"}     what a reader shows of an object from now on
objects   seen  {<id>: [revision, value], ...}  all of them, at the end
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.zones.finding import Finding
from tests.zones.history import Entry, Operation, operations, seen

BACK = "a reader saw an object go back"
LOST = "an acknowledged change of an object is gone"
TWO_WINNERS = "two compare-and-sets on the same revision were acknowledged"
ORDER = "a change that was asked for after another was acknowledged has an earlier revision"
TWO_VALUES = "a revision has two values"


def objects(history: Sequence[Entry]) -> list[Finding]:
    acked = [one for one in operations(history, "put") if one.ok]
    return [*_back(history), *_lost(history, acked), *_winners(acked), *_order(acked), *_values(history, acked)]


def _back(history: Sequence[Entry]) -> Iterable[Finding]:
    newest: dict[tuple[str, str], int] = {}
    for entry in seen(history, "view"):
        key, revision = (entry.process, entry.value["id"]), entry.value["revision"]
        if revision < newest.get(key, 0):
            yield Finding(BACK, f"{entry.process} saw {key[1]} at {newest[key]}, then at {revision}")
        newest[key] = revision


def _lost(history: Sequence[Entry], acked: Sequence[Operation]) -> Iterable[Finding]:
    last = {one.asked["id"]: one for one in sorted(acked, key=lambda one: one.got["revision"])}
    for end in seen(history, "objects"):
        for id_, one in last.items():
            wanted = one.got["revision"]
            revision, value = end.value.get(id_, (0, None))
            if revision < wanted:
                yield Finding(LOST, f"{id_} was acknowledged at {wanted} and is at {revision}")
            elif revision == wanted and value != one.asked["value"]:
                yield Finding(LOST, f"{id_} at {wanted} is {value!r}, not {one.asked['value']!r}")


def _winners(acked: Sequence[Operation]) -> Iterable[Finding]:
    won: dict[tuple[str, int], Operation] = {}
    for one in acked:
        if one.asked["expect"] is not None:
            key = (one.asked["id"], one.asked["expect"])
            other = won.setdefault(key, one)
            if other is not one:
                yield Finding(TWO_WINNERS, f"{key[0]} at {key[1]}: by {other.process} and by {one.process}")


def _order(acked: Sequence[Operation]) -> Iterable[Finding]:
    """All objects are in one stream, so this holds between any two of them."""
    done = sorted(acked, key=lambda one: one.ended or 0)
    newest, position = 0, 0
    for one in sorted(acked, key=lambda one: one.began):
        while position < len(done) and (done[position].ended or 0) < one.began:
            newest = max(newest, done[position].got["revision"])
            position += 1
        if one.got["revision"] <= newest:
            yield Finding(ORDER, f"{one.asked['id']} by {one.process} is {one.got['revision']}, after {newest}")


def _values(history: Sequence[Entry], acked: Sequence[Operation]) -> Iterable[Finding]:
    told: dict[int, tuple[str, Any]] = {}
    claims = [(one.got["revision"], one.asked["id"], one.asked["value"]) for one in acked]
    claims += [(entry.value["revision"], entry.value["id"], entry.value["value"]) for entry in seen(history, "view")]
    for revision, id_, value in claims:
        known = told.setdefault(revision, (id_, value))
        if known != (id_, value):
            yield Finding(TWO_VALUES, f"{revision} is {known[0]}={known[1]!r} and {id_}={value!r}")
