"""The demo's summary: tables for people, and one coloured verdict."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headway.format import counted


def show(summary: dict[str, Any], look: str) -> None:
    """Print the summary of a run on standard output.

    Args:
        summary: result of `Tally`, with the acts' additions.
        look: where to look next, in words.
    """
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print()
    console.print(_services(summary))
    console.print()
    console.print(
        f"sent {summary['sent']:,}, done {summary['done']:,}, retried {summary['retried']:,}, "
        f"dead-lettered {summary['dead_lettered']:,}, lost {summary['lost']:,} in {summary['seconds']} s"
    )
    console.print(
        f"{counted(summary['killed_workers'], 'worker')} killed on the way. A job's latency runs from submission to\n"
        "effect: the modelled telephone line and the faxes of the killed worker are in it."
    )
    if "burst" in summary:
        _burst(console, summary["burst"])
    if "release" in summary:
        _releases(console, summary["release"])
    console.print()
    console.print(verdict(summary), soft_wrap=False)
    console.print(look)


def verdict(summary: dict[str, Any]) -> Panel:
    """Return the verdict: green if nothing was lost and each release ended as expected, else red."""
    problems = list(summary["wrong"])
    if summary["lost"]:
        problems.insert(0, f"{summary['lost']:,} lost")
    if problems:
        return Panel(Text("\n".join(problems)), title="something is wrong", style="bold red", width=79)
    lines = [f"Nothing was lost: {_all_sent(summary):,} jobs and calls of 4 tenants ended as they must."]
    if "burst" in summary:
        burst = summary["burst"]
        lines.append(
            f"A burst of {burst['faxes']:,} faxes: p95 of the others' calls {burst['calls_p95_ms_before']} ms before, "
            f"{burst['calls_p95_ms_during']} ms meanwhile."
        )
    for release in summary.get("release", {}).get("releases", ()):
        if release["caught_after_s"] is None:
            lines.append(f"fax {release['version']}, the good release, got all traffic in {release['seconds']:.0f} s.")
        else:
            after = f"{release['caught_after_s']:.0f} s and {counted(release['caught_after_requests'], 'request')}"
            lines.append(f"fax {release['version']}, the bad release, was taken back after {after}.")
    return Panel(Text("\n".join(lines)), title="all is well", style="bold green", width=79)


def _all_sent(summary: dict[str, Any]) -> int:
    acts = (summary.get("burst", {}), summary.get("release", {}))
    return int(summary["sent"]) + sum(int(act.get("faxes", 0)) for act in acts)


def _services(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("service")
    for heading in ("sent", "done", "dead letters", "lost", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    keys = ("sent", "done", "dead_lettered", "lost", "p50_ms", "p95_ms", "p99_ms")
    for name, numbers in summary["services"].items():
        table.add_row(name, *("-" if numbers[key] is None else f"{numbers[key]:,}" for key in keys))
    return table


def _burst(console: Console, burst: dict[str, Any]) -> None:
    before, peak, after = burst["workers"]
    console.print()
    console.print(
        f"{burst['faxes']:,} faxes of one tenant at once: sent in {burst['seconds']:.0f} s by up to "
        f"{counted(peak, 'worker')}; {before} before, {after} afterwards.\n"
        f"p95 of the others' calls: {burst['calls_p95_ms_before']} ms before, "
        f"{burst['calls_p95_ms_during']} ms meanwhile.\n"
        "The scaler's decisions and reasons:"
    )
    for reason in burst["reasons"]:
        console.print(Padding(Text(reason), (0, 0, 0, 2)), soft_wrap=False)


def _releases(console: Console, found: dict[str, Any]) -> None:
    console.print()
    console.print(f"{found['faxes']:,} faxes were submitted during two releases of fax, {found['lost']:,} were lost.")
    for one in found["releases"]:
        taken = f", {counted(one['took_over'], 'queued job')} taken over" if one["took_over"] else ""
        console.print(f"{one['version']}: {one['phase']} after {one['seconds']:.0f} s{taken}")
        for step in one["transitions"]:
            console.print(Padding(Text(step), (0, 0, 0, 2)), soft_wrap=False)
