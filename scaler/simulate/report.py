"""All contenders on one trace, side by side: as values, as a table, as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from headway.control.records import Scale
from headway.scaler.simulate.headway import Headway
from headway.scaler.simulate.model import Result, Workload, simulate
from headway.scaler.simulate.optimum import Optimum, optimum
from headway.scaler.simulate.peers import peers
from headway.scaler.simulate.traces import Trace


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """The results of all contenders on a trace, Headway first."""

    trace: Trace
    load: Workload
    optimum: Optimum
    results: tuple[Result, ...]


def load_of(scale: Scale) -> Workload:
    """Return the workload for testing a policy: its bounds, and its deadline as the objective."""
    usual = Workload()
    within = scale.lag.drain_within if scale.lag is not None else usual.within
    return Workload(minimum=scale.min, maximum=scale.max, within=within)


def compare(
    trace: Trace, load: Workload | None = None, scale: Scale | None = None, *, others: bool = True
) -> PolicyComparison:
    """Run all contenders on a trace.

    Args:
        trace: the arrivals.
        load: the service; the usual one by default.
        scale: Headway's policy; the defaults by default.
        others: whether the peers run too.
    """
    load = load or Workload()
    contenders = [Headway(load, scale), *(peers(load) if others else ())]
    return PolicyComparison(trace, load, optimum(trace, load), tuple(simulate(trace, load, one) for one in contenders))


def as_json(found: PolicyComparison) -> dict[str, Any]:
    """Return the comparison as JSON."""
    return {
        "trace": found.trace.name,
        "seconds": len(found.trace.arrivals),
        "jobs": sum(found.trace.arrivals),
        "load": asdict(found.load),
        "optimum": {
            "slo_misses": found.optimum.slo_misses,
            "worker_seconds": round(found.optimum.worker_seconds, 1),
        },
        "contenders": {
            one.contender: {
                "slo_misses": one.slo_misses,
                "worker_seconds": round(one.worker_seconds, 1),
                "ratio": ratio(found, one),
                "oscillations": one.oscillations,
                "max_lag_s": round(one.max_lag_s, 1),
                "peak": one.peak,
            }
            for one in found.results
        },
    }


def ratio(found: PolicyComparison, one: Result) -> float | None:
    """Return worker-seconds as a multiple of the optimum's; None if the optimum needs none."""
    least = found.optimum.worker_seconds
    return round(one.worker_seconds / least, 3) if least else None


def as_table(found: PolicyComparison) -> Group:
    """Return the comparison as text of 80 columns."""
    jobs, seconds = sum(found.trace.arrivals), len(found.trace.arrivals)
    above = Text(f"{found.trace.name}: {jobs:,} jobs in {seconds:,} s, each to be finished in {found.load.within:g} s")
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for heading in ("SLO MISSES", "WORKER-S", "x OPTIMUM", "TURNS", "MAX LAG", "PEAK"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, one in enumerate(found.results):
        times = ratio(found, one)
        table.add_row(
            one.contender,
            f"{one.slo_misses:,}",
            f"{one.worker_seconds:,.0f}",
            "-" if times is None else f"{times:.2f}",
            str(one.oscillations),
            f"{one.max_lag_s:.1f}s",
            str(one.peak),
            style="" if index else "bold",
        )
    best = found.optimum
    table.add_row("optimum", f"{best.slo_misses:,}", f"{best.worker_seconds:,.0f}", "1.00", "", "", "", style="dim")
    return Group(above, table)
