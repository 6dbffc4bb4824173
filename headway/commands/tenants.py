"""`headway tenants`: what each tenant has queued, in hand and used, as a table, as JSON, or as a live screen."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.bus.client.bus import Bus
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.endpoint import ServerAccess, find
from headway.format import short
from headway.status import listen
from headway.tenants import TenantRow, Tenants, combine, read

SHOWN: Final = 20
"""Rows of the table; `--json` has all."""


@click.command(
    epilog=examples(
        "headway tenants",
        "headway tenants --watch",
        "headway tenants --json",
    )
)
@json_option
@click.option("--watch", "-w", is_flag=True, help="Update it live until Ctrl-C.")
@click.option("--top", type=click.IntRange(1), default=SHOWN, show_default=True, help="Rows of the table.")
@options.server
def tenants(*, as_json: bool, watch: bool, top: int, url: str | None, creds: str | None, directory: Path) -> int:
    """Show each tenant's jobs, work in hand, handler seconds in a minute, and who is sidelined.

    It listens to the workers' heartbeats for about a second.
    """
    return run(_tenants(find(url, creds, directory), as_json=as_json, watch=watch, top=top))


async def _tenants(endpoint: ServerAccess, *, as_json: bool, watch: bool, top: int) -> None:
    async with await endpoint.connect("tenants") as bus:
        if not watch:
            found = await _collect(bus, endpoint)
            if as_json:
                click.echo(found.model_dump_json())
            else:
                Console(highlight=False).print(render(found, top))
            return
        if as_json:
            while True:
                click.echo((await _collect(bus, endpoint)).model_dump_json())
        with Live(Text("listening ..."), console=Console(highlight=False), auto_refresh=False, screen=False) as screen:
            while True:
                screen.update(render(await _collect(bus, endpoint), top), refresh=True)


async def _collect(bus: Bus, endpoint: ServerAccess) -> Tenants:
    beats, backlog = await asyncio.gather(listen(bus), read(bus))
    return combine(endpoint.url, beats, backlog)


def render(found: Tenants, top: int = SHOWN) -> Group:
    """Return a table that fits 80 columns, with the reasons of sidelinings below it."""
    if not found.rows:
        return Group(Text(f"no tenant has jobs or used a worker lately at {found.url}"))
    table = Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1))
    table.add_column("TENANT", no_wrap=True, max_width=20)
    for heading in ("QUEUED", "OLDEST", "IN HAND", "BUSY S/MIN", "WEIGHT", "SHARE"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("SIDELINED", no_wrap=True)
    shown = found.rows[:top]
    for row in shown:
        table.add_row(
            row.tenant or "all others",
            short(row.queued),
            "-" if row.oldest_s is None else f"{row.oldest_s:.1f}s",
            short(row.in_hand),
            f"{row.busy_s:.1f}",
            f"{row.weight:g}",
            "-" if row.share is None else f"{row.share:.1%}",
            _since(row),
            style="yellow" if row.sidelined else "",
        )
    why = [
        Text(f"{row.tenant} in {one.service} {one.version}: {one.why}", style="dim", no_wrap=True, overflow="ellipsis")
        for row in shown
        for one in row.sidelined
    ]
    more = [Text(f"{len(found.rows) - top} more (--top, --json)", style="dim")] if len(found.rows) > top else []
    above = Text(f"{found.url}  {datetime.now().astimezone():%H:%M:%S}", style="dim")
    return Group(above, table, *more, *why)


def _since(row: TenantRow) -> str:
    return "" if not row.sidelined else f"for {max(one.seconds for one in row.sidelined):.0f}s"
