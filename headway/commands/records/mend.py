"""`headway records mend`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.commands import options
from headway.commands.base import examples, run
from headway.control.store import Control
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway records mend", "headway records mend version.fax.v1"))
@click.argument("keys", nargs=-1)
@options.server
def mend(*, keys: tuple[str, ...], url: str | None, creds: str | None, directory: Path) -> int:
    """Restore records from their copies: all unreadable ones, or the given ones.

    A scaler record is deleted; the scaler writes it again.
    """
    return run(_mend(require(url, creds, directory), keys))


async def _mend(endpoint: ServerAccess, keys: tuple[str, ...]) -> None:
    async with await endpoint.connect("records") as bus, audited(bus):
        control = Control(bus)
        await control.refresh()
        for key in keys or sorted(control.unreadable):
            click.echo(f"{key}: {await control.mend(key)}")
        if not keys and not control.unreadable:
            click.echo("all control records can be read: there is nothing to repair")
