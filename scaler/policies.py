"""The scaling policies: how many workers each wants for a version. Pure.

A want has two numbers: below `up` workers more are started, above `keep` some are stopped. In between nothing changes,
so that a load around a whole number of workers does not make the count flap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from headway.control.records import Cpu, Inflight, Lag, Latency, Scale
from headway.scaler.observation import Observation

TOLERANCE: Final = 0.1
"""Share by which the load may exceed the workers' capacity before more are started, as in the HPA. The rest shows up
as backlog, or as the next larger load.
"""
CORE: Final = 0.9
"""Share of a core that a worker, one Python process, can spend on work."""
_IDLE: Final = 0.1
"""Load in workers below which the last one is not needed: its own overhead and rare messages."""
_QUICK: Final = 1e-6
"""CPU seconds per message below which the measurement is meaningless."""
_AIM: Final = 0.5
"""Share of `drain_within` for the drain itself; the rest is for starting and observing."""
_SLACK: Final = 0.7
"""Share of a latency target that fewer workers must be expected to keep."""
_IDLE_CPU: Final = 0.2
_IDLE_INFLIGHT: Final = 0.1


class Want(NamedTuple):
    """What one policy wants.

    Attributes:
        policy: its name.
        up: at least this many are needed.
        keep: at most this many are needed; None if unknown: then none is stopped.
        reason: why, as a sentence without its end.
    """

    policy: str
    up: int
    keep: int | None
    reason: str


def wants(scale: Scale, seen: Observation, arrivals: float, capacity: float | None) -> Iterator[Want]:
    """Yield what each policy of a version wants.

    Args:
        scale: the policies.
        seen: the load.
        arrivals: smoothed messages per second.
        capacity: messages per second that one worker finishes; None if none has finished any yet.
    """
    if scale.lag is not None:
        yield lag(scale.lag, seen, arrivals, capacity)
    if scale.cpu is not None and seen.workers:
        yield cpu(scale.cpu, seen)
    if scale.inflight is not None and seen.limit:
        yield inflight(scale.inflight, seen)
    if scale.latency is not None and seen.workers:
        yield latency(scale.latency, seen)


def capacity(seen: Observation) -> float | None:
    """Return the messages per second that one worker can finish, bound by slots and core (Little's law)."""
    bounds = []
    if seen.slots and seen.service_s:
        bounds.append(seen.slots / seen.service_s)
    if seen.work_cpu_s and seen.work_cpu_s > _QUICK:
        bounds.append(CORE / seen.work_cpu_s)
    return min(bounds) if bounds and seen.service_s else None


def lag(policy: Lag, seen: Observation, arrivals: float, capacity: float | None) -> Want:
    """Want enough workers for the arrivals, and to drain the backlog in time.

    Retries count once they are due: more workers would not make them due sooner. No worker is stopped while it is
        needed for work in progress.
    """
    if seen.pending is None or seen.ack_pending is None:
        return Want("lag", 0, None, "the queue length is unknown")
    waiting = seen.pending + seen.due
    held = math.ceil(seen.in_hand / seen.slots) if seen.slots else 0
    some = int(waiting + seen.ack_pending + seen.in_hand > 0)
    if not waiting and not arrivals:
        reason = (
            f"nothing is queued; {seen.ack_pending:,} in progress or awaiting a retry" if some else "nothing is queued"
        )
        if seen.ack_pending <= seen.redelivered:
            return Want("lag", some, max(some, held), reason)
    if capacity is None:
        if waiting and seen.workers and seen.oldest_s > policy.drain_within * _AIM / 2:
            doubled = 2 * seen.workers
            return Want("lag", doubled, doubled, f"{waiting:,} queued, none finished in {seen.oldest_s:.1f} s")
        if seen.workers and seen.slots and waiting > seen.workers * seen.slots:
            one_more = seen.workers + 1
            return Want("lag", one_more, one_more, f"{waiting:,} queued, more than the workers have slots for")
        return Want("lag", some, max(some, seen.workers), f"{waiting:,} queued, processing rate not known yet")
    load = (arrivals + waiting / (policy.drain_within * _AIM)) / capacity
    reason = (
        f"{waiting:,} queued and {arrivals:,.1f}/s arriving need {load:.1f} workers at {capacity:,.1f}/s each "
        f"to drain in {policy.drain_within:g} s"
    )
    return Want("lag", max(some, _up(load)), max(some, held, _keep(load)), reason)


def cpu(policy: Cpu, seen: Observation) -> Want:
    """Want enough workers that each stays at its target share of a core."""
    if seen.cpu is None:
        return Want("cpu", 0, None, "the CPU time is unknown")
    load = seen.cpu / policy.target
    reason = f"{seen.cpu:.2f} cores used, {policy.target:.0%} of a core per worker: {load:.1f} workers"
    return Want("cpu", _up(load), _keep(load), reason)


def inflight(policy: Inflight, seen: Observation) -> Want:
    """Want enough workers that none comes near the limit at which it sheds calls."""
    assert seen.limit
    load = seen.inflight / (seen.limit * policy.target)
    reason = f"{seen.inflight:,} calls in flight, {policy.target:.0%} of {seen.limit:,} per worker: {load:.1f} workers"
    return Want("inflight", _up(load), _keep(load), reason)


def latency(policy: Latency, seen: Observation) -> Want:
    """Want more workers while calls are slow, unless the workers are idle: then more would not help."""
    ratios = [
        (value / bound, f"{name} {value * 1000:,.0f} ms of {bound * 1000:,.0f} ms")
        for name, value, bound in (
            ("mean", seen.call_mean_s, policy.mean),
            ("p95", seen.call_p95_s, policy.p95),
        )
        if value is not None and bound is not None
    ]
    if not ratios:
        return Want("latency", 0, 0, "no calls")
    ratio, what = max(ratios)
    if ratio <= 1 + TOLERANCE:
        return Want("latency", 0, min(seen.workers, math.ceil(seen.workers * ratio / _SLACK)), what)
    busy = (seen.cpu or 0.0) / seen.workers > _IDLE_CPU
    full = bool(seen.limit) and seen.inflight / (seen.workers * (seen.limit or 1)) > _IDLE_INFLIGHT
    if not busy and not full:
        return Want("latency", 0, seen.workers, f"{what}, but the workers are idle: something else is slow")
    more = max(seen.workers + 1, math.ceil(seen.workers * min(ratio, 2.0)))
    return Want("latency", more, more, what)


def _up(load: float) -> int:
    return math.ceil(load * (1 - TOLERANCE)) if load > _IDLE else 0


def _keep(load: float) -> int:
    return math.ceil(load) if load > _IDLE else 0
