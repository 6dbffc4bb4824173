"""`headway audit ls`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from headway.commands import options
from headway.commands.audit.shared import line
from headway.commands.base import examples, run
from headway.control import audit
from headway.control.audit import Logged
from headway.endpoint import ServerAccess, find
from headway.format import cut, visible


@click.command(epilog=examples("headway audit ls --by ada", "headway audit ls --json"))
@click.option("--by", help="Only this person's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@options.server
def ls(*, by: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """List actions, oldest first: one line when an action began, and one with its outcome."""
    return run(_ls(find(url, creds, directory), by, as_json=as_json))


async def _ls(endpoint: ServerAccess, by: str | None, *, as_json: bool) -> None:
    width = shutil.get_terminal_size().columns
    count = 0
    async with await endpoint.connect("audit") as bus:
        async for logged in audit.entries(bus):
            if by is not None and (logged.entry is None or logged.entry.by != by):
                continue
            count += 1
            click.echo(line(logged) if as_json else cut(_row(logged), width))
    if not count and not as_json:
        click.echo("no actions")


def _row(logged: Logged) -> str:
    """Return the line that shows an entry in a terminal."""
    when, entry = logged.at.astimezone().strftime("%m-%d %H:%M:%S"), logged.entry
    if entry is None:
        return f"{logged.seq:>6}  {when}  this entry cannot be read"
    about = " ".join(f"{name}={value}" for name, value in entry.about.items())
    what = f"{entry.action} {about}" + (f": {entry.said}" if entry.said else "")
    return visible(f"{logged.seq:>6}  {when}  {entry.state:<6}  {entry.source:<7}  {entry.by}  {what}")
