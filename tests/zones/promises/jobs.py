"""Each acknowledged job is done at least once, and what the server stored for one is never given to another.

submit    asked {"key"}           ok {"stream", "seq", "duplicate"}
effect    seen  {"key"}           written by the worker, at the end of the job
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.zones.finding import Finding
from tests.zones.history import Entry, operations, seen

LOST = "a job that was acknowledged was never done"
REUSED = "two jobs were acknowledged with the same sequence"
FOREIGN = "a job was done that nobody submitted"


def jobs(history: Sequence[Entry]) -> list[Finding]:
    submitted = operations(history, "submit")
    done = {entry.value["key"] for entry in seen(history, "effect")}
    findings = []
    acked: dict[str, str] = {}
    places: dict[tuple[str, int], str] = {}
    for one in submitted:
        if one.ok:
            key, place = one.asked["key"], (one.got["stream"], one.got["seq"])
            acked[key] = f"{place[0]} {place[1]}"
            other = places.setdefault(place, key)
            if other != key:
                findings.append(Finding(REUSED, f"{other} and {key} are both {acked[key]}"))
    findings += [Finding(LOST, f"{key}, stored as {place}") for key, place in acked.items() if key not in done]
    known = {one.asked["key"] for one in submitted}
    return [*findings, *(Finding(FOREIGN, key) for key in sorted(done - known))]


def repeated(history: Sequence[Entry]) -> int:
    """How often a job was done again: allowed, and worth knowing."""
    effects = [entry.value["key"] for entry in seen(history, "effect")]
    return len(effects) - len(set(effects))
