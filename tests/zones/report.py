"""What each fault cost: for how long the worst-off client got no answer, and how much failed meanwhile.

python -m tests.zones.report .headway-chaos/*/history.jsonl    # a table over several runs
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.zones.history import NEMESIS, Entry, Operation, load, operations, seen
from tests.zones.plan import KINDS
from tests.zones.promises.calls import SHORTLY

COLUMNS = {"calls": ("call", "route", "hangup", "agent-status"), "jobs": ("submit",), "objects": ("put",)}
"""What is told apart, and the operations that count as each."""


@dataclass(frozen=True, slots=True)
class Felt:
    """What clients felt of one fault.

    Attributes:
        kind: of the fault.
        lasted: seconds from the strike until it was undone.
        back: seconds from then until all was healthy.
        gaps: by column, the longest time in seconds for which one client got nothing done.
        failed: by column, how many operations failed or were in doubt.
    """

    kind: str
    lasted: float
    back: float
    gaps: dict[str, float]
    failed: dict[str, int]


def felt(history: Sequence[Entry]) -> list[Felt]:
    """Each fault of a history."""
    mended = [entry.at for entry in seen(history, "mended")]
    asked = {column: operations(history, *ops) for column, ops in COLUMNS.items()}
    faults = [one for one in operations(history, *KINDS) if one.process == NEMESIS]
    found = []
    for fault, following in itertools.zip_longest(faults, faults[1:]):
        if fault.ended is not None:
            undone = next(at for at in mended if at >= fault.began)
            until = fault.ended + SHORTLY
            span = (fault.began, until if following is None else min(until, following.began))
            found.append(
                Felt(
                    kind=fault.op,
                    lasted=undone - fault.began,
                    back=fault.ended - undone,
                    gaps={column: _gap(those, *span) for column, those in asked.items()},
                    failed={column: _failed(those, *span) for column, those in asked.items()},
                )
            )
    return found


def _gap(asked: Sequence[Operation], began: float, ended: float) -> float:
    """The longest time in a span in which one process got nothing done."""
    longest = 0.0
    for process in {one.process for one in asked}:
        mine = [one for one in asked if one.process == process and began <= one.began <= ended]
        done = sorted(one.ended for one in mine if one.ok and one.ended is not None)
        if mine:
            times = [mine[0].began, *done, max(one.ended or ended for one in mine)]
            longest = max([longest, *(after - before for before, after in itertools.pairwise(times))])
    return longest


def _failed(asked: Sequence[Operation], began: float, ended: float) -> int:
    return sum(not one.ok and one.error != "conflict" and began <= one.began <= ended for one in asked)


def table(faults: Iterable[Felt]) -> str:
    """The worst of each kind."""
    by_kind: dict[str, list[Felt]] = {}
    for one in faults:
        by_kind.setdefault(one.kind, []).append(one)
    heads = "".join(f" {f'no {column}':>12} {'failed':>6}" for column in COLUMNS)
    lines = [f"{'fault':<14} {'times':>5} {'back':>6}{heads}"]
    for kind in KINDS:
        if those := by_kind.get(kind):
            cells = "".join(
                f" {max(one.gaps[column] for one in those):>10.1f} s {max(one.failed[column] for one in those):>6}"
                for column in COLUMNS
            )
            lines.append(f"{kind:<14} {len(those):>5} {max(one.back for one in those):>4.1f} s{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(fault for path in sys.argv[1:] for fault in felt(load(Path(path)))))
