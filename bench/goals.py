"""What each bench must reach, and whether it did. Pure."""

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
        """Whether a value reaches it."""
        return value >= self.bound if self.sense == "at least" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was measured; `value` is None if nothing was."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool:
        """Whether the goal is reached. What was not measured is not."""
        return self.value is not None and self.goal.met(self.value)


FASTSTREAM_JOBS = "FastStream PullSub(500)"
RAW_JOBS = "raw nats-py overlapping pulls"
FETCH_JOBS = "nats-py fetch(500)"
FASTSTREAM_RPC = "FastStream rpc"
RAW_RPC = "raw nats-py"
MICRO_RPC = "nats.micro"
FAIRNESS = "flooded p99 / quiet p99"
MEMORY = "idle worker RSS (MB)"

JOBS = (Goal(FASTSTREAM_JOBS, 5.0, "at least"), Goal(RAW_JOBS, 0.5, "at least"))
RPC = (Goal(FASTSTREAM_RPC, 2.5, "at least"), Goal(RAW_RPC, 0.8, "at least"))
FAIR = (Goal(FAIRNESS, 3.0, "at most"),)
LEAN = (Goal(MEMORY, 60.0, "at most"),)


def judge(goals: Sequence[Goal], values: Mapping[str, float]) -> list[Verdict]:
    """Each goal beside what was measured."""
    return [Verdict(goal, values.get(goal.of)) for goal in goals]
