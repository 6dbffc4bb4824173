"""`headway records ls`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.control.store import Control
from headway.endpoint import ServerAccess, require
from headway.format import visible


@click.command(epilog=examples("headway records ls"))
@json_option
@options.server
def ls(*, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """List unreadable records, and why. Exit code 1 if there are any."""
    return run(_ls(require(url, creds, directory), as_json=as_json))


async def _ls(endpoint: ServerAccess, *, as_json: bool) -> int:
    async with await endpoint.connect("records") as bus:
        control = Control(bus)
        await control.refresh()
    if as_json:
        click.echo(orjson.dumps(control.unreadable).decode())
    elif not control.unreadable:
        click.echo("all control records can be read")
    for key, why in sorted(control.unreadable.items() if not as_json else ()):
        click.echo(visible(f"{key}: {why}"))
    return 1 if control.unreadable else 0
