"""`headway schedules resume`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.schedules import shared
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway schedules resume fax nightly-report"))
@click.argument("service")
@click.argument("job")
@options.server
def resume(*, service: str, job: str, url: str | None, creds: str | None, directory: Path) -> int:
    """Let a paused JOB of SERVICE run by itself again, from its next time on."""
    return run(_resume(require(url, creds, directory), service, job))


async def _resume(endpoint: ServerAccess, service: str, job: str) -> None:
    async with await endpoint.connect("schedules") as bus, audited(bus):
        await shared.pause(bus, service, job, paused=False)
    click.echo(f"{service} {job} runs by itself")
