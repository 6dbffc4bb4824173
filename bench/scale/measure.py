"""The scale bench: bursts on a real installation, and all contenders on all traces in the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench import goals
from bench.goals import Goal
from bench.report import Report
from bench.scale import burst
from headway.scaler.simulate import report, traces
from headway.scaler.simulate.report import PolicyComparison


async def measure(jobs: int, rounds: int, names: Sequence[str]) -> Report:
    """Run the bench.

    Args:
        jobs: of one burst.
        rounds: bursts, each on an installation of its own.
        names: traces to simulate.
    """
    bursts = [await burst.burst(jobs) for _ in range(rounds)]
    compared = {name: report.compare(traces.load(name)) for name in names}
    measured: dict[str, list[float]] = {
        goals.FIRST_WORKER: [one.first_worker_s for one in bursts],
        "decision to a new worker's first job (ms)": [one.decided_s * 1e3 for one in bursts],
        "burst drained (s)": [one.drained_s for one in bursts],
        "back to one worker (s)": [one.shrunk_s for one in bursts],
        "burst: jobs later than 10 s": [float(one.slo_misses) for one in bursts],
        "burst: worker-seconds / least possible": [
            one.worker_seconds / burst.least_worker_seconds(jobs) for one in bursts
        ],
        goals.TWICE: [float(one.twice) for one in bursts],
    }
    values = {name: median(found) for name, found in measured.items()}
    judged = [*goals.SCALE]
    for name, found in compared.items():
        for goal, value in _goals(name, found):
            judged.append(goal)
            values[goal.of] = value
    return Report(
        bench="scale",
        title=f"a burst of {jobs} jobs of {burst.SECONDS * 1e3:g} ms, {rounds} rounds; {len(names)} traces",
        unit="as named",
        values=values,
        rounds=measured,
        ratios={},
        verdicts=goals.judge(judged, values),
        details={"peak_workers": [one.peak for one in bursts]},
        headline={
            "first_worker_s": values[goals.FIRST_WORKER],
            "drained_s": values["burst drained (s)"],
            "traces": {name: _trace(found) for name, found in compared.items()},
        },
        below="\n\n".join(map(_table, compared.values())),
    )


def _goals(name: str, found: PolicyComparison) -> list[tuple[Goal, float]]:
    """Goals: few misses, few worker-seconds, and no peer better on both."""
    ours, *others = found.results
    better = sum(one.slo_misses < ours.slo_misses and one.worker_seconds < ours.worker_seconds for one in others)
    more = ours.slo_misses - min((one.slo_misses for one in others), default=0)
    paid = ours.worker_seconds / found.optimum.worker_seconds
    return [
        (Goal(f"{name}: worker-seconds / optimum", 1.25, "at most"), paid),
        (Goal(f"{name}: SLO misses more than any peer", 0, "at most"), float(max(0, more))),
        (Goal(f"{name}: peers better on both", 0, "at most"), float(better)),
    ]


def _trace(found: PolicyComparison) -> Mapping[str, Any]:
    whole = report.as_json(found)
    return {"optimum": whole["optimum"], **whole["contenders"]}


def _table(found: PolicyComparison) -> str:
    head = f"{found.trace.name:<16}{'SLO misses':>12}{'worker-s':>12}{'/ optimum':>12}{'turns':>8}"
    rows = [
        f"  {one.contender:<14}{one.slo_misses:>12,}{one.worker_seconds:>12,.0f}"
        f"{one.worker_seconds / found.optimum.worker_seconds:>12.2f}{one.oscillations:>8}"
        for one in found.results
    ]
    return "\n".join([head, *rows])
