"""`headway dead ls`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import click
import orjson

from headway.bus.client import dead as letters
from headway.bus.client.dead import DeadLetter
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.dead.shared import filters, plain
from headway.endpoint import ServerAccess, find
from headway.format import cut, visible

_CAUSE: Final = 17
_TENANT: Final = 12
_FIXED: Final = 6 + 14 + _TENANT + _CAUSE + 4 * 2
"""Columns of number, time, tenant, cause and gaps; the operation gets the rest."""


@click.command(epilog=examples("headway dead ls --service fax --tenant acme"))
@filters
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@options.server
def ls(
    *, service: str | None, tenant: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """List dead letters, oldest first. `dead show` prints what a narrow terminal cuts off."""
    return run(_ls(find(url, creds, directory), service, tenant, as_json=as_json))


async def _ls(endpoint: ServerAccess, service: str | None, tenant: str | None, *, as_json: bool) -> None:
    width = shutil.get_terminal_size().columns
    count = 0
    async with await endpoint.connect("dead") as bus:
        async for letter in letters.list_(bus.js, service, tenant):
            if as_json:
                click.echo(orjson.dumps(plain(letter)))
            else:
                if not count:
                    click.echo(row("SEQ", "WHEN", "SERVICE/OPERATION", "TENANT", "CAUSE", width))
                click.echo("\n".join(lines(letter, width)))
            count += 1
    if not count and not as_json:
        click.echo("no dead letters")


def lines(letter: DeadLetter, width: int) -> tuple[str, str]:
    """Return the two lines that show a letter in a terminal of some columns."""
    when = letter.at.astimezone().strftime("%m-%d %H:%M:%S")
    what = f"{letter.service}/{letter.operation}"
    why = visible(f"        {letter.attempts}x {letter.traceback or '-'}  {letter.reason}".replace("\n", " "))
    return row(str(letter.seq), when, what, letter.tenant, letter.cause, width), cut(why, width)


def row(seq: str, when: str, what: str, tenant: str, cause: str, width: int) -> str:
    """Return the cells side by side; long ones are cut."""
    room = max(17, width - _FIXED)
    what, tenant, cause = visible(what), visible(tenant), visible(cause)
    return f"{seq:>6}  {when:<14}  {cut(what, room):<{room}}  {cut(tenant, _TENANT):<{_TENANT}}  {cause}"
