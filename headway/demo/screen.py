"""What the demo shows while it runs: a live table on a terminal, a line a second elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.bus.wire.beat import Beat
from headway.demo.tally import SERVICES, percentile
from headway.demo.watch import Watch
from headway.format import milliseconds, short

_TICK: Final = 0.2
_PLAIN_TICK: Final = 1.0
_REASONS: Final = 3
_WIDTH: Final = 79


@asynccontextmanager
async def shown(
    console: Console, picture: Callable[[], RenderableType], line: Callable[[], str]
) -> AsyncIterator[None]:
    """Show what goes on inside the block.

    Args:
        console: where.
        picture: for a terminal, drawn several times a second.
        line: for anything else, printed once a second.
    """
    task = asyncio.ensure_future(_live(console, picture) if console.is_terminal else plain(console, line))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _live(console: Console, picture: Callable[[], RenderableType]) -> None:
    with Live(picture(), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(_TICK)
                live.update(picture(), refresh=True)
        finally:
            live.update(picture(), refresh=True)


async def plain(console: Console, line: Callable[[], str]) -> None:
    """Print a line a second, until cancelled."""
    while True:
        await asyncio.sleep(_PLAIN_TICK)
        console.print(line(), markup=False)


def services(watch: Watch, stage: str, calls: list[float]) -> RenderableType:
    """A table of all services and the last decisions on `fax`, in 80 columns.

    Args:
        watch: what is seen.
        stage: what is happening, in words.
        calls: latencies of the last calls in seconds.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("SERVICE", no_wrap=True)
    table.add_column("WORKERS", no_wrap=True, min_width=20)
    for heading in ("WAITING", "IN HAND", "P95"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=8)
    for name in SERVICES:
        beats = watch.serving(name)
        p95 = percentile(calls, 0.95) if name == "calls" else None
        table.add_row(
            name,
            f"{'■' * min(len(beats), 16)} {len(beats)}",
            short(watch.waiting[name]) if name in watch.waiting else "-",
            str(_in_hand(beats)),
            milliseconds(None if p95 is None else p95 * 1000),
        )
    reasons = [
        Text(f"fax {one.before} -> {one.desired}: {one.reason}", style="dim", no_wrap=True, overflow="ellipsis")
        for one in watch.decisions("fax")[-_REASONS:]
    ]
    return Group(Text(stage, style="bold"), table, *reasons)


def services_line(watch: Watch, stage: str, calls: list[float]) -> str:
    """The same in a line."""
    p95 = percentile(calls, 0.95)
    late = "-" if p95 is None else milliseconds(p95 * 1000)
    workers, waiting = len(watch.serving("fax")), watch.waiting.get("fax", 0)
    return f"fax workers {workers}  waiting {waiting:<5} calls p95 {late:<6} {stage}"[:_WIDTH]


def _in_hand(beats: list[Beat]) -> int:
    return sum(beat.in_hand + beat.rpc_inflight for beat in beats)
