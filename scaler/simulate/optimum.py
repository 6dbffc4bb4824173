"""The lower bound of the cost: the offline optimum, which knows the whole trace.

It is a lower bound that can be proven, not a schedule of the model. Jobs are a fluid here, of which a worker finishes
up to slots / service time in every moment; workers come, go and divide without delay. Every schedule of
`headway.scaler.simulate.model` is also one of the fluid, at the same price, so none is cheaper than the fluid's best.

That best one is exact. With the minimum of workers always there, each step finishes
- what the minimum can do, as far as something has arrived, and
- beyond that only what the deadlines of this step and, with no more than the maximum of workers, of later ones require.

No schedule has bought less than this one at any step: where it buys, it has done no more than what had to be done, and
since it last had an idle worker, when all that had arrived was finished, its minimum has been busy all the time.

If the maximum cannot keep all deadlines, jobs that miss them with all workers always there miss them in every schedule
(first in, first out); these are the fewest misses, and those jobs may end at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headway.scaler.simulate.model import STEP, Workload, arrivals
from headway.scaler.simulate.traces import Trace

_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Optimum:
    """The fewest possible misses, and the fewest worker-seconds with that many."""

    slo_misses: int
    worker_seconds: float


def optimum(trace: Trace, load: Workload) -> Optimum:
    """Return the lower bound for a trace."""
    coming = arrivals(trace, load.seed)
    steps = len(coming)
    missed, late = _unavoidable(coming, load)
    tail = max(load.within_steps, late)
    arrived, total = [0] * (steps + tail), 0
    due = [0] * (steps + tail)
    for step, count in enumerate(coming):
        total += count
        arrived[step] = total
        due[min(step + load.within_steps, steps + tail) - 1] += count - missed.get(step, 0)
    for step in range(steps, steps + tail):
        arrived[step] = total
    due[-1] += sum(missed.values())
    for step in range(1, steps + tail):
        due[step] += due[step - 1]

    each = load.slots / load.service_steps
    required: list[float] = [float(count) for count in due]
    for step in range(steps + tail - 2, -1, -1):
        required[step] = max(required[step], required[step + 1] - load.maximum * each)
    done = bought = 0.0
    for step in range(steps + tail):
        base = load.minimum * each if step < steps else 0.0
        done = min(float(arrived[step]), done + base)
        if required[step] > done + _EPSILON:
            bought += required[step] - done
            done = required[step]
    return Optimum(sum(missed.values()), (load.minimum * steps + bought / each) * STEP)


def _unavoidable(coming: list[int], load: Workload) -> tuple[dict[int, int], int]:
    """Return the jobs that miss even if all workers always run, and the steps until the last one is done."""
    capacity, lasts = load.maximum * load.slots, load.service_steps
    missed: dict[int, int] = {}
    waiting: list[list[int]] = []
    head = 0
    ends: dict[int, int] = {}
    free, step, left = capacity, 0, sum(coming)
    while left or step < len(coming):
        free += ends.pop(step, 0)
        if step < len(coming) and coming[step]:
            waiting.append([step, coming[step]])
        while free and head < len(waiting):
            arrived, count = waiting[head]
            count = min(free, count)
            waiting[head][1] -= count
            head += not waiting[head][1]
            free -= count
            left -= count
            ends[step + lasts] = ends.get(step + lasts, 0) + count
            if step + lasts - arrived > load.within_steps:
                missed[arrived] = missed.get(arrived, 0) + count
        step += 1
    return missed, max([0, *(end - len(coming) for end in ends)])
