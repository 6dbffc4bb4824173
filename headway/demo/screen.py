"""The picture of the demo: tenants, services, weights, workers, queues, and decisions with reasons.

On a terminal it is one live picture that fills the screen; elsewhere, a line a second and one for each decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.demo import work
from headway.demo.progress import DemoEvent, DemoProgress
from headway.demo.tally import percentile
from headway.demo.watch import DemoWatch, ServingVersion
from headway.format import milliseconds, short

_TICK: Final = 0.2
_PLAIN_TICK: Final = 1.0
_WIDTH: Final = 79
_BAR: Final = 16
"""Columns of a bar in 80 columns; a wider terminal has longer ones."""
_TALL: Final = 30
"""Least number of terminal lines for wrapping reasons instead of cutting them."""
_STYLES: Final = {"scaler": "cyan", "rollout": "magenta", "demo": "yellow"}


@asynccontextmanager
async def shown(console: Console, progress: DemoProgress, watch: DemoWatch) -> AsyncIterator[None]:
    """Show the progress while the block runs.

    Args:
        console: the terminal.
        progress: progress of the demo.
        watch: the observed installation.
    """
    show = _live if console.is_terminal else _plain
    task = asyncio.ensure_future(show(console, progress, watch))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def picture(progress: DemoProgress, watch: DemoWatch, width: int, height: int) -> RenderableType:
    """Return the picture for a terminal of a certain size.

    Args:
        progress: progress of the demo.
        watch: the observed installation.
        width: columns.
        height: lines; the latest decisions fill the space below the tables.
    """
    rows = watch.rows()
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(" headway demo ", style="bold reverse")
    title.append(f" {progress.seconds:3.0f} s  ", style="dim")
    title.append(progress.act, style="bold")
    extra = min(24, max(0, width - 80))
    room = height - len(work.TENANTS) - max(1, len(rows)) - 8
    return Group(
        title,
        Text(),
        _tenants(progress, _BAR + 4 + extra),
        Text(),
        _services(rows, watch, _BAR + extra),
        Text(),
        Text("DECIDED, AND WHY", style="bold"),
        *_events(events(progress, watch), width, max(1, room), wrap=height >= _TALL),
    )


def line(progress: DemoProgress, watch: DemoWatch) -> str:
    """Return the progress in a line of 79 characters."""
    workers, waiting = len(watch.serving("fax")), watch.waiting.get("fax", 0)
    p95 = percentile(progress.recent(work.TENANTS), 0.95)
    late = milliseconds(None if p95 is None else p95 * 1000)
    done, sent = progress.done.total(), progress.sent.total()
    text = f"{progress.seconds:3.0f} s  done {done}/{sent}  fax workers {workers}  queue {waiting}  calls p95 {late}  "
    return (text + progress.act)[:_WIDTH]


def events(progress: DemoProgress, watch: DemoWatch) -> list[DemoEvent]:
    """Return what the demo did and what scaler and deployer decided, oldest first."""
    return sorted([*progress.events, *watch.decided()])


async def _live(console: Console, progress: DemoProgress, watch: DemoWatch) -> None:
    def now() -> RenderableType:
        return picture(progress, watch, *console.size)

    with Live(now(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                await asyncio.sleep(_TICK)
                live.update(now(), refresh=True)
        finally:
            live.update(now(), refresh=True)


async def _plain(console: Console, progress: DemoProgress, watch: DemoWatch) -> None:
    """Print a line a second, and each decision once, until cancelled."""
    told: set[DemoEvent] = set()
    while True:
        await asyncio.sleep(_PLAIN_TICK)
        for event in events(progress, watch):
            if event not in told:
                told.add(event)
                console.print(f"      {event.who}: {event.text}", markup=False)
        console.print(line(progress, watch), markup=False)


def _tenants(progress: DemoProgress, width: int) -> Table:
    table = _table(("TENANT", "left", 10), ("SENT", "right", 6), ("DONE", "right", 6), ("OPEN", "right", 6))
    table.add_column("", width=width, no_wrap=True)
    table.add_column("CALLS P95", justify="right", width=9, no_wrap=True)
    for name in work.TENANTS:
        sent, done = progress.sent[name], progress.done[name]
        p95 = percentile(progress.recent([name]), 0.95)
        table.add_row(
            name,
            short(sent),
            short(done),
            short(max(0, sent - done)),
            _bar(done / sent if sent else 0.0, width, "green" if done >= sent else "yellow"),
            milliseconds(None if p95 is None else p95 * 1000),
        )
    return table


def _services(rows: list[ServingVersion], watch: DemoWatch, width: int) -> Table:
    table = _table(("SERVICE", "left", 10), ("VER", "left", 4))
    table.add_column("TRAFFIC", width=width + 5, no_wrap=True)
    table.add_column("WORKERS", width=13, no_wrap=True)
    for heading in ("QUEUE", "IN HAND"):
        table.add_column(heading, justify="right", width=7, no_wrap=True)
    if not rows:
        table.add_row("...", *[""] * 5)
    seen: set[str] = set()
    for row in rows:
        share = _bar(row.weight / 100, width, "green" if row.weight else "dim").append(f"{row.weight:>4}%")
        wanted = "" if row.desired in {None, row.workers} else f"/{row.desired}"
        first = row.service not in seen
        seen.add(row.service)
        table.add_row(
            row.service if first else "",
            row.version,
            share,
            Text("■" * min(row.workers, 8), style="cyan").append(f" {row.workers}{wanted}", style="default"),
            short(watch.waiting[row.service]) if first and row.service in watch.waiting else "",
            short(row.in_hand),
        )
    return table


def _events(found: list[DemoEvent], width: int, room: int, *, wrap: bool) -> list[Text]:
    """Return the lines of the last events that fit."""
    lines: list[Text] = []
    for event in reversed(found):
        at = datetime.fromtimestamp(event.at).astimezone()
        text = Text(f"{at:%H:%M:%S} ", style="dim", overflow="ellipsis", no_wrap=not wrap)
        text.append(f"{event.who:<8}", style=_STYLES.get(event.who, "default"))
        text.append(event.text, style="default")
        needs = -(-(len(text) + 4) // width) if wrap else 1
        if needs > room:
            break
        room -= needs
        lines.append(text)
    return lines[::-1]


def _bar(share: float, width: int, style: str) -> Text:
    full = round(min(1.0, share) * width)
    return Text("█" * full, style=style).append("░" * (width - full), style="dim")


def _table(*columns: tuple[str, str, int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading, justify, width in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", width=width, no_wrap=True)
    return table
