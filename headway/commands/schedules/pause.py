"""`headway schedules pause`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.schedules import shared
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway schedules pause fax nightly-report"))
@click.argument("service")
@click.argument("job")
@options.server
def pause(*, service: str, job: str, url: str | None, creds: str | None, directory: Path) -> int:
    """Stop a periodic JOB of SERVICE from running by itself. Queued runs are still done."""
    return run(_pause(require(url, creds, directory), service, job))


async def _pause(endpoint: ServerAccess, service: str, job: str) -> None:
    async with await endpoint.connect("schedules") as bus, audited(bus):
        await shared.pause(bus, service, job, paused=True)
    click.echo(f"{service} {job} is paused")
