"""Rollouts drawn in 80 columns: live, or as a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headway.control.records import Phase, Point, RolloutRecord, ScaleRecord, VersionRecord
from headway.format import counted, visible

_BAR: Final = 30
_CHART, _LEVELS = 60, 7
"""Columns and lines of the chart of the evidence."""
_LAST: Final = 6
"""Transitions that the live view shows."""
PHASES: Final[Mapping[Phase, str]] = {
    "verify": "verifying",
    "warm-up": "warming up",
    "shift": "shifting traffic",
    "judge": "judging",
    "drain": "draining the old version",
    "standby": "on standby",
    "done": "done",
    "back": "rolling back",
    "take-over": "taking over jobs",
    "rolled-back": "rolled back",
    "refused": "refused",
}
"""Display names of phases; the console uses the same words (format.ts)."""
_BAD: Final = frozenset({"back", "take-over", "rolled-back", "refused"})


def live(
    record: RolloutRecord, versions: Mapping[str, VersionRecord], scales: Mapping[str, ScaleRecord]
) -> RenderableType:
    """Return a picture of a rollout as it is now.

    Args:
        record: of the rollout.
        versions: the versions of the service.
        scales: the scaler's records of them.
    """
    where = f" of {record.cluster}" if record.cluster else ""
    step = f" {record.weight}%{where}" if record.phase in {"shift", "judge"} else ""
    style = "red" if record.phase in _BAD else "green" if record.phase in {"done", "standby"} else "yellow"
    title = Text(f"{record.service} {record.before or '-'} -> {record.version}  ", style="bold")
    title.append(f"{PHASES[record.phase]}{step}", style=style)
    title.append("  paused" if record.paused else "", style="bold yellow")
    parts: list[RenderableType] = [title, _shares(record, versions, scales), _steps(record)]
    verdict = record.verdict if record.phase == "judge" else None
    told = () if verdict is None else (*verdict.reasons, "; ".join(verdict.reasons))
    if record.note and record.note not in told:
        parts.append(Text(visible(record.note), style="dim"))
    if verdict is not None:
        parts += [Text(visible(f"{verdict.outcome}: {reason}")) for reason in verdict.reasons]
        if len(verdict.evidence) > 1:
            parts.append(evidence(verdict.evidence))
    if record.abort:
        parts.append(Text(visible(record.abort), style="red"))
    return Group(*parts, Text(), transitions(record, _LAST))


def evidence(points: Sequence[Point]) -> Text:
    """Return the course of the evidence, drawn between two thresholds.

    The upper one is proof that the version is as good, the lower one that it is worse.
    """
    columns = [points[round(n * (len(points) - 1) / (_CHART - 1))] for n in range(_CHART)]
    levels = [round((_LEVELS - 1) * (1 - (point.shown - point.against)) / 2) for point in columns]
    chart = Text()
    for level in range(_LEVELS):
        name = {0: "as good", _LEVELS - 1: "worse"}.get(level, "")
        chart.append(f"{name:>7} ", style="dim")
        for at in levels:
            edge = "┄" if level in {0, _LEVELS - 1} else "·" if level == _LEVELS // 2 else " "
            style = "green" if at < _LEVELS // 2 else "red" if at > _LEVELS // 2 else "yellow"
            chart.append("●" if at == level else edge, style=style if at == level else "dim")
        chart.append("\n")
    chart.append(f"{f'{points[-1].at:.0f} s':>{8 + _CHART}}", style="dim")
    return chart


def transitions(record: RolloutRecord, last: int | None = None) -> RenderableType:
    """Return a table of transitions with reasons, and of requests with their authors."""
    table = _table("WHEN", "PHASE", "WHY")
    table.columns[2].overflow = "fold"
    table.columns[2].no_wrap = False
    rows = [(step.at, str(step.after), step.reason) for step in record.history]
    rows += [(one.at, "", f"{one.what}, asked by {one.by}") for one in record.asked]
    for at, phase, why in sorted(rows, key=lambda row: row[0])[-last if last else 0 :]:
        table.add_row(_time(at), phase, visible(why))
    return table


def past(record: RolloutRecord) -> RenderableType:
    """Return a table of the stored rollouts, oldest first."""
    table = _table("#", "BEGAN", "VERSION", "BEFORE", "OUTCOME", "WHY")
    reason = record.abort or (record.history[-1].reason if record.history else record.note)
    rows: list[tuple[int, float, str, str | None, str, str]] = [
        *((one.number, one.began, one.version, one.before, one.outcome, one.reason) for one in record.past),
        (record.number, record.began, record.version, record.before, record.phase, reason),
    ]
    for number, began, version, before, outcome, why in rows:
        table.add_row(str(number), _day(began), version, before or "-", outcome, visible(why))
    table.columns[-1].no_wrap = False  # the reasons are cut, not their subjects
    return table


def _shares(
    record: RolloutRecord, versions: Mapping[str, VersionRecord], scales: Mapping[str, ScaleRecord]
) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for name in (record.before, record.version):
        if name is None:
            continue
        version, scale = versions.get(name), scales.get(name)
        weight = 0 if version is None else version.weight
        full = round(weight * _BAR / 100)
        health = "" if scale is None else f"{counted(scale.desired, 'worker')}, {scale.health}"
        table.add_row(name, "█" * full + "░" * (_BAR - full), f"{weight}%", health)
    return table


def _steps(record: RolloutRecord) -> Text:
    line = Text("steps ", style="dim")
    going = record.phase in {"shift", "judge"}
    for number, weight in enumerate(record.steps):
        passed = number < record.step or record.phase in {"drain", "standby", "done"}
        style = "green" if passed else "bold yellow" if number == record.step and going else "dim"
        line.append(f" {weight}%", style=style)
    return line


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%m-%d %H:%M")
