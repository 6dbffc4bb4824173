"""`headway scale history`: the scaler's decisions and their reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from headway.bus.errors import NotFound
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.control.records import ScaleRecord
from headway.endpoint import ServerAccess, find
from headway.format import visible


@click.command(epilog=examples("headway scale history fax"))
@click.argument("service")
@click.option("--version", help="Only this version.")
@json_option
@options.server
def history(
    *, service: str, version: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Show the scaler's last decisions for a service, each with its reason."""
    return run(_history(find(url, creds, directory), service, version, as_json=as_json))


async def _history(endpoint: ServerAccess, service: str, version: str | None, *, as_json: bool) -> None:
    from headway.control.store import Control

    async with await endpoint.connect("scale") as bus:
        control = Control(bus)
        await control.refresh()
        found = {
            name: record
            for (of, name), record in sorted(control.scales.items())
            if of == service and version in {None, name}
        }
    if not found:
        which = service if version is None else f"{service} {version}"
        raise NotFound(f"no decisions for {which} yet", remedy="`headway status` shows the running services")
    if as_json:
        click.echo(json.dumps({name: record.model_dump(mode="json") for name, record in found.items()}))
    else:
        Console(highlight=False).print(render(found))


def render(found: Mapping[str, ScaleRecord]) -> Table:
    """Decisions of several versions, the latest at the bottom."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("TIME", no_wrap=True)
    table.add_column("VER", no_wrap=True)
    table.add_column("WORKERS", no_wrap=True, justify="right")
    table.add_column("REASON", overflow="fold")
    lines = sorted(
        ((one, name) for name, record in found.items() for one in record.history), key=lambda line: line[0].at
    )
    for one, name in lines:
        at = datetime.fromtimestamp(one.at).astimezone()
        table.add_row(f"{at:%H:%M:%S}", name, f"{one.before} -> {one.desired}", visible(one.reason))
    return table
