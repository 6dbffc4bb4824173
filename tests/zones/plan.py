"""Which faults, in which order, and for how long: a pure function of a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "kill",  # the server of a zone dies (kill -9), and is started again
    "pause",  # it stands still (SIGSTOP), and goes on
    "isolate",  # its zone is cut off from everything
    "split",  # its zone and another do not hear each other; both hear and are heard by all else
    "deafen",  # the same in one direction
    "fill",  # its disk is full; room is made, and it is started again
    "kill-worker",
    "kill-scaler",
    "kill-deployer",
    "kill-web",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
PARTITIONS: frozenset[Kind] = frozenset({"isolate", "split", "deafen"})
ZONES = ("a", "b", "c")

SHORTEST, LONGEST = 4.0, 9.0
"""Seconds that a zone's fault lasts."""
GAP = 1.5
"""Seconds from all being healthy again to the next fault, on average."""
RECOVERY = 4.0
"""Seconds that becoming healthy again takes, about."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: what.
        zone: whose server; the one whose worker dies is any.
        other: the second zone of a split.
        seconds: how long; a process that is started again by somebody else is not kept away.
        gap: seconds before it.
    """

    kind: Kind
    zone: str
    other: str
    seconds: float
    gap: float

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def plan(seed: int, seconds: float, kinds: Sequence[Kind] = KINDS) -> list[Fault]:
    """Faults for about so many seconds, one at a time. Each kind comes once before any comes again.

    Args:
        seed: what is drawn from.
        seconds: how long it may take together; at least one of each kind is in it all the same.
        kinds: which of them can be done.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    left = seconds
    while left > 0 or len(faults) < len(kinds):
        for kind in chance.sample(kinds, len(kinds)):
            if left <= 0 and len(faults) >= len(kinds):
                break
            zone, other = chance.sample(ZONES, 2)
            lasts = 0.0 if kind.startswith("kill-") else round(chance.uniform(SHORTEST, LONGEST), 1)
            fault = Fault(kind, zone, other, lasts, round(chance.uniform(0.5, 2 * GAP - 0.5), 1))
            faults.append(fault)
            left -= fault.gap + fault.seconds + RECOVERY
    return faults
