"""`headway dead purge`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.bus.client import dead as letters
from headway.bus.errors import HeadwayError, StoreError
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.dead.shared import filters
from headway.endpoint import ServerAccess, find
from headway.format import counted, visible


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
    failed: list[HeadwayError] = []
    async with await endpoint.connect("dead") as bus, audited(bus) as outcome:
        async for letter in letters.list_(bus.js, service, tenant):
            try:
                await letters.discard(bus, letter)
                count += 1
            except StoreError as error:
                click.echo(f"not deleted: {letter.seq}: {visible(str(error))}", err=True)
                failed.append(error)
        outcome.said = f"deleted {count}, failed {len(failed)}"
    click.echo(f"deleted {counted(count, 'dead letter')}")
    if failed:
        raise failed[0]
