"""A rollout goes from phase to phase as control/records.py draws it, comes to an end, and a version that is retired
serves nothing any more.

    rollout   seen  {"number", "version", "before", "phase", "began", "since"}   each phase as it is seen, some may pass
                    unseen; when the rollout began, and since when it is in this phase
    effect    seen  {"version", "began", ...}      a job that was done
    call      ok    {"version", ...}               a call that was answered
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headway.control.records import OVER, Phase
from tests.zones.finding import Finding
from tests.zones.history import Entry, operations, seen

UNFINISHED = "a rollout did not come to an end"
ILLEGAL = "a rollout went where it cannot go"
RETIRED = "a retired version served something"

SETTLE = 1.0
"""Seconds in which a version may still serve after a rollout has retired it."""

_NEXT: dict[Phase, set[Phase]] = {
    "verify": {"warm-up", "refused"},
    "warm-up": {"shift", "back"},
    "shift": {"judge", "drain", "back"},
    "judge": {"shift", "drain", "back"},
    "drain": {"standby", "back"},
    "standby": {"done", "back"},
    "back": {"take-over", "rolled-back"},
    "take-over": {"rolled-back", "done"},
    "done": set(),
    "rolled-back": set(),
    "refused": set(),
}


def rollouts(history: Sequence[Entry]) -> list[Finding]:
    return [*_phases(history), *_retired(history)]


def _phases(history: Sequence[Entry]) -> Iterable[Finding]:
    phases: dict[int, Phase] = {}
    for entry in seen(history, "rollout"):
        number, phase = entry.value["number"], entry.value["phase"]
        before = phases.get(number)
        if before is not None and phase != before and phase not in _reached(before):
            yield Finding(ILLEGAL, f"number {number} went from {before} to {phase}")
        phases[number] = phase
    # A rollout whose old version is still kept warm is followed by the next one.
    ended = OVER | {"standby"}
    yield from (Finding(UNFINISHED, f"number {n} is at {phase}") for n, phase in phases.items() if phase not in ended)


def _reached(phase: Phase) -> set[Phase]:
    """The phases that may follow, at once or later."""
    found: set[Phase] = set()
    new = set(_NEXT[phase])
    while new - found:
        found |= new
        new = {later for one in new for later in _NEXT[one]}
    return found


def _retired(history: Sequence[Entry]) -> Iterable[Finding]:
    known = {entry.value["number"]: entry.value for entry in seen(history, "rollout")}.values()
    away: dict[str, list[tuple[float, float]]] = {}
    for one in known:
        gone = {"done": one["before"], "rolled-back": one["version"]}.get(one["phase"])
        if gone is not None:
            again = (new["began"] for new in known if new["version"] == gone and new["began"] > one["since"])
            away.setdefault(gone, []).append((one["since"], min(again, default=float("inf"))))
    served = [(e.value["version"], e.value["began"], e.at, f"job {e.value['key']}") for e in seen(history, "effect")]
    served += [
        (one.got["version"], one.began, one.ended or one.began, f"a call of {one.process}")
        for one in operations(history, "call")
        if one.ok and "version" in one.got
    ]
    for version, began, ended, what in served:
        for gone, back in away.get(version, []):
            if gone + SETTLE < began < back and ended < back:
                yield Finding(RETIRED, f"{version}: {what} at {began:.2f}, retired since {gone:.2f}")
