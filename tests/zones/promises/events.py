"""Each acknowledged event is handled at least once.

emit      asked {"key"}           ok
heard     seen  {"key"}           written by the worker, at the end of the handler
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.zones.finding import Finding
from tests.zones.history import Entry, operations, seen

LOST = "an event that was acknowledged was never handled"
FOREIGN = "an event was handled that nobody emitted"


def events(history: Sequence[Entry]) -> list[Finding]:
    emitted = operations(history, "emit")
    heard = {entry.value["key"] for entry in seen(history, "heard")}
    known = {one.asked["key"] for one in emitted}
    lost = [Finding(LOST, one.asked["key"]) for one in emitted if one.ok and one.asked["key"] not in heard]
    return [*lost, *(Finding(FOREIGN, key) for key in sorted(heard - known))]
