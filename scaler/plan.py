"""Plans which workers of a version to start, drain and kill. Pure.

An unhealthy worker is stopped once its replacement serves; one that only uses too much memory, once it is idle.
Surplus workers are stopped in this order: those that do not serve yet, those with the least work in progress, the
youngest. Only a worker that does not end by itself is killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

KILL_AFTER: Final = 5.0
"""Seconds beyond its grace period after which a draining worker is killed."""
KILL_SILENT_AFTER: Final = 2.0
"""The same for a worker whose event loop does not run: it cannot drain."""
REPLACE_WITHIN: Final = 10.0
"""Seconds after which a silent worker is stopped even without a replacement. Other unhealthy workers are kept until
theirs serves.
"""
IDLE_WITHIN: Final = 30.0
"""Seconds for which a worker that can wait is given the chance to become idle."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A live worker.

    Attributes:
        started: unix seconds.
        serving: it has reported that it serves.
        in_hand: calls, jobs and events.
        sick: why it has to be replaced; None if it is healthy.
        sick_since: when that was found.
        silent: its event loop does not run, so it would not receive the order to drain.
        can_wait: it works, and may be stopped once it is idle.
        draining_since: when it was ordered to drain, or reported it.
        grace: seconds that it has to drain; None for those of its version.
    """

    worker: str
    started: float
    serving: bool = True
    in_hand: int = 0
    sick: str | None = None
    sick_since: float | None = None
    silent: bool = False
    can_wait: bool = False
    draining_since: float | None = None
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How many workers to start, and the workers to drain or kill as (worker, reason)."""

    start: int = 0
    drain: tuple[tuple[str, str], ...] = ()
    kill: tuple[tuple[str, str], ...] = ()


def plan(desired: int, members: Iterable[WorkerState], now: float, *, grace: float, may_start: bool = True) -> Plan:
    """Plan how to get from the existing workers to the desired ones.

    Args:
        desired: workers wanted.
        members: all live workers.
        now: on the clock of the members' times.
        grace: seconds that a draining worker has, unless it reports another period.
        may_start: False while the version backs off after deaths.
    """
    everyone = list(members)
    draining = [m for m in everyone if m.draining_since is not None]
    sick = [m for m in everyone if m.draining_since is None and m.sick is not None]
    well = [m for m in everyone if m.draining_since is None and m.sick is None]

    surplus = sorted(well, key=lambda m: (m.serving, m.in_hand, -m.started))[: max(0, len(well) - desired)]
    drain = [(m.worker, f"{desired} are enough") for m in surplus]

    replaced = sum(m.serving for m in well) >= desired
    for m in sick:
        waited = now - (m.sick_since if m.sick_since is not None else now)
        if m.can_wait and m.in_hand and waited < IDLE_WITHIN:
            continue
        if replaced or (m.silent and waited >= REPLACE_WITHIN):
            drain.append((m.worker, m.sick or ""))

    kill = []
    for m in draining:
        assert m.draining_since is not None
        since, patience = m.draining_since, (grace if m.grace is None else m.grace) + KILL_AFTER
        if m.silent and m.sick_since is not None:
            since, patience = max(since, m.sick_since), KILL_SILENT_AFTER
        if now - since >= patience:
            kill.append((m.worker, f"did not end {patience:g} s after it was told to"))
    start = max(0, desired - len(well)) if may_start else 0
    return Plan(start=start, drain=tuple(drain), kill=tuple(kill))
