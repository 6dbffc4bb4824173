"""`headway dead purge`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.bus.client import dead as letters
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.dead.shared import filters
from headway.endpoint import ServerAccess, find


@click.command(epilog=examples("headway dead purge --service fax --tenant acme"))
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.server
def purge(
    *, service: str | None, tenant: str | None, yes: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Delete dead letters for good."""
    parts = [f"of {what} {name}" for what, name in (("service", service), ("tenant", tenant)) if name]
    whose = " ".join(parts)
    if not yes:
        click.confirm(f"Delete all dead letters {whose or 'of all services and tenants'}?", abort=True, err=True)
    return run(_purge(find(url, creds, directory), service, tenant))


async def _purge(endpoint: ServerAccess, service: str | None, tenant: str | None) -> None:
    count = 0
    async with await endpoint.connect("dead") as bus:
        async for letter in letters.list_(bus.js, service, tenant):
            await letters.discard(bus, letter)
            count += 1
    click.echo(f"deleted {count} dead letter{'' if count == 1 else 's'}")
