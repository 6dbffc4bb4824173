"""Decides how many workers a version needs. Pure: the same observations give the same decisions, so traces replay.

It scales out at once, to the largest count that a policy wants. It scales in only to the largest count that was
needed within the last `down_after` seconds, and only if every policy knows its load: a missing or stale observation
stops no worker. It never scales to zero while work is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from headway.control.records import Scale
from headway.scaler import policies
from headway.scaler.observation import Observation

_SMOOTH: Final = 0.2
"""Share of `drain_within` over which the arrival rate is averaged."""
_LEARN: Final = 5.0
"""Seconds over which the measured capacity of a worker is averaged."""
_DRAIN_WITHIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """State that one decision passes to the next.

    Attributes:
        since: when the first observation was taken; None before it.
        at: when the last one was.
        desired: the last decision.
        arrivals: smoothed messages per second.
        capacity: smoothed messages per second of one worker; None until one was measured.
        needed: (when, how many were enough), newest last, for `down_after`.
    """

    since: float | None = None
    at: float | None = None
    desired: int | None = None
    arrivals: float = 0.0
    capacity: float | None = None
    needed: tuple[tuple[float, int], ...] = ()


NEW: Final = History()


@dataclass(frozen=True, slots=True)
class Decision:
    """The decided number of workers, and the reason.

    Attributes:
        desired: workers.
        reason: why, in one sentence.
        history: for the next decision.
        wanted: what each policy wanted.
    """

    desired: int
    reason: str
    history: History
    wanted: Mapping[str, int] = field(default_factory=dict)


def decide(
    scale: Scale,
    seen: Observation,
    history: History = NEW,
    *,
    minimum: int = 0,
    floor: int = 0,
    calls: bool = False,
    current: int | None = None,
) -> Decision:
    """Decide how many workers a version needs now.

    Args:
        scale: policies and bounds of the service.
        seen: the version's load.
        history: from the last decision; `NEW` at first.
        minimum: workers that the version has at any load.
        floor: workers that the schedule asks for now.
        calls: whether it serves calls, so that it cannot be woken from zero.
        current: the intended number of workers, for the first decision; the observed number by default.
    """
    history = _learn(scale, seen, history)
    before = history.desired
    if before is None:
        before = seen.workers if current is None else current
    found = list(policies.wants(scale, seen, history.arrivals, history.capacity))
    low, why_low = _lowest(scale, seen, minimum, floor, before, calls=calls)
    high = max(scale.max, low)

    want = max(found, key=lambda one: one.up, default=None)
    up = min(high, max(low, want.up if want else 0))
    if scale.step is not None and before >= low:
        up = min(up, before + scale.step)
    known = seen.complete and all(one.keep is not None for one in found)
    needed = max([low, *(one.keep or 0 for one in found)])
    recent = [*history.needed, (seen.at, needed if known else max(needed, before))]
    window = tuple((at, count) for at, count in recent if at > seen.at - scale.down_after)
    enough = min(high, max([low, *(count for _, count in window)]))

    if up > before:
        desired = up
        reason = f"{want.policy}: {want.reason}" if want is not None and want.up >= up else why_low
        if want is not None and want.up > up:
            reason += f"; held at {up} by {'the maximum' if up == high else f'steps of {scale.step}'}"
    elif before > high:
        desired, reason = high, f"the maximum is {high}"
    elif enough < before and known and _long_enough(scale, seen, history):
        desired = enough
        keeper = max(found, key=lambda one: one.keep or 0, default=None)
        why = f"{keeper.policy}: {keeper.reason}" if keeper is not None and (keeper.keep or 0) >= low else why_low
        reason = f"at most {enough} needed for {scale.down_after:g} s; {why}"
    else:
        desired = before
        reason = (
            "no change"
            if known
            else "held: " + next((w.reason for w in found if w.keep is None), "measurements are missing")
        )
    return Decision(
        desired=desired,
        reason=reason,
        history=replace(history, desired=desired, needed=window),
        wanted={one.policy: one.up for one in found},
    )


def _lowest(scale: Scale, seen: Observation, minimum: int, floor: int, before: int, *, calls: bool) -> tuple[int, str]:
    """Return the lower bound, and its reason."""
    pending = seen.pending is None or seen.ack_pending is None or seen.pending + seen.ack_pending + seen.in_hand > 0
    waking = seen.pending is not None and pending
    candidates = [
        (scale.min, f"the minimum is {scale.min}"),
        (minimum, f"the version's minimum is {minimum}"),
        (floor, f"the schedule asks for {floor}"),
        (int(calls), "it serves calls, so it cannot scale to zero"),
        # With no policy, a fixed number of zero means zero.
        (int(waking and scale.lag is not None), "work is queued"),
        (int(pending and before > 0 and scale.lag is not None), "work may be queued"),
    ]
    return max(candidates, key=lambda one: one[0])


def _long_enough(scale: Scale, seen: Observation, history: History) -> bool:
    """Return whether the need is known for all of the last `down_after` seconds."""
    return history.since is not None and seen.at - history.since >= scale.down_after


def _learn(scale: Scale, seen: Observation, history: History) -> History:
    """Add an observation to the averages."""
    passed = 0.0 if history.at is None else max(0.0, seen.at - history.at)
    arrivals = history.arrivals
    if seen.arrivals is not None:
        over = (scale.lag.drain_within if scale.lag else _DRAIN_WITHIN) * _SMOOTH
        arrivals = seen.arrivals if history.at is None else _blend(arrivals, seen.arrivals, passed, over)
        if arrivals < 1e-6:
            arrivals = 0.0
    measured = policies.capacity(seen)
    capacity = history.capacity
    if measured is not None:
        # The average is of seconds per message: an average of the capacity itself would stay high for long after many
        # quick messages.
        capacity = measured if capacity is None else 1 / _blend(1 / capacity, 1 / measured, passed, _LEARN)
    since = seen.at if history.since is None else history.since
    return replace(history, since=since, at=seen.at, arrivals=arrivals, capacity=capacity)


def _blend(old: float, new: float, passed: float, over: float) -> float:
    """Return an exponentially weighted average over some seconds."""
    return new + (old - new) * math.exp(-passed / over)
