"""The goals of each bench, and whether a result meets them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one value.

    Attributes:
        of: the value's name: a peer, or a measurement.
        bound: the limit.
        sense: whether the value must be at least or at most that.
    """

    of: str
    bound: float
    sense: Literal["at least", "at most"]

    def met(self, value: float) -> bool:
        """Return whether a value meets the bound."""
        return value >= self.bound if self.sense == "at least" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and its measured value; `value` is None if it was not measured."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool:
        """Return whether the goal is met. A value that was not measured does not meet it."""
        return self.value is not None and self.goal.met(self.value)


FASTSTREAM_JOBS = "FastStream PullSub(500)"
RAW_JOBS = "raw nats-py overlapping pulls"
FETCH_JOBS = "nats-py fetch(500)"
FASTSTREAM_RPC = "FastStream rpc"
RAW_RPC = "raw nats-py"
MICRO_RPC = "nats.micro"
WORST_TENANT = "worst_tenant_ratio"
WORST_TENANT_EMPTY = "worst_tenant_ratio_empty_jobs"
SHARE_ERROR = "share_error"
THROUGHPUT = "throughput_of_plain"
MEMORY = "idle worker RSS (MB)"

FIRST_WORKER = "first extra worker serves (s)"
TWICE = "burst: jobs done twice"
RECONCILE = "a round over all services, all busy (ms)"
GROWTH = "growth with services (1 is linear)"

STARLETTE = "Starlette websocket fan-out"
SYNC_P99 = "change to memory p99 (ms)"
CATCH_UP = "catch-up / reload (bytes)"
FIRST_PAINT = "first paint of what is stored (ms)"
PLAIN_PAINT = "first paint from plain IndexedDB (ms)"

FAILED_CALLS = "failed_calls"
LOST_JOBS = "lost_jobs"
TWICE_JOBS = "jobs_done_twice"
SHIFT = "shift_ms_p99"
ROLLBACK = "rollback_ms_p99"
REPLACE = "fleet_replace_s"
OUTSIDE = "shares_out_of_bounds"

FALSE_ABORTS = "equal versions stopped, worst share"
LET_THROUGH = "doubled failures released, worst share"
MEDIAN_5 = "15 -> 34% at 5%: canary requests, median"
P99_5 = "15 -> 34% at 5%: canary requests, p99"
MEDIAN_50 = "15 -> 34% at 50%: canary requests, median"
P99_50 = "15 -> 34% at 50%: canary requests, p99"
POWER = "2 -> 7% found by 1,000, worst share"
SLOW = "p95 1.5 times as long found by 1,000, worst share"
THROUGH = "good release through 20, 50, 100% (s)"
BAD_THROUGH = "bad releases that reached 100%"
GOOD_STOPPED = "good releases stopped"

JOBS = (Goal(FASTSTREAM_JOBS, 5.0, "at least"), Goal(RAW_JOBS, 0.5, "at least"))
RPC = (Goal(FASTSTREAM_RPC, 2.5, "at least"), Goal(RAW_RPC, 0.8, "at least"))
FAIR = (
    Goal(WORST_TENANT, 1.5, "at most"),
    Goal(WORST_TENANT_EMPTY, 3.0, "at most"),
    Goal(SHARE_ERROR, 0.05, "at most"),
    Goal(THROUGHPUT, 0.95, "at least"),
)
LEAN = (Goal(MEMORY, 60.0, "at most"),)
SYNC = (
    Goal(STARLETTE, 5.0, "at least"),
    Goal(SYNC_P99, 50.0, "at most"),
    Goal(CATCH_UP, 0.02, "at most"),
    Goal(FIRST_PAINT, 50.0, "at most"),
    Goal(PLAIN_PAINT, 0.5, "at most"),
)
SCALE = (Goal(FIRST_WORKER, 1.0, "at most"), Goal(TWICE, 0.0, "at most"))
ROUND = (Goal(RECONCILE, 500.0, "at most"), Goal(GROWTH, 1.2, "at most"))
RELEASES = (
    Goal(FAILED_CALLS, 0.0, "at most"),
    Goal(LOST_JOBS, 0.0, "at most"),
    Goal(TWICE_JOBS, 0.0, "at most"),
    Goal(SHIFT, 10.0, "at most"),
    Goal(ROLLBACK, 100.0, "at most"),
    Goal(REPLACE, 60.0, "at most"),
    Goal(OUTSIDE, 0.0, "at most"),
)
JUDGE = (
    Goal(FALSE_ABORTS, 0.01, "at most"),
    Goal(LET_THROUGH, 0.01, "at most"),
    Goal(MEDIAN_5, 60, "at most"),
    Goal(P99_5, 180, "at most"),
    Goal(MEDIAN_50, 130, "at most"),
    Goal(P99_50, 360, "at most"),
    Goal(POWER, 0.99, "at least"),
    Goal(SLOW, 0.99, "at least"),
    Goal(THROUGH, 60, "at most"),
    Goal(BAD_THROUGH, 3, "at most"),
    Goal(GOOD_STOPPED, 10, "at most"),
)
OUTAGE = (Goal(LOST_JOBS, 0.0, "at most"),)


def judge(goals: Sequence[Goal], values: Mapping[str, float]) -> list[Verdict]:
    """Pair each goal with its measured value."""
    return [Verdict(goal, values.get(goal.of)) for goal in goals]
