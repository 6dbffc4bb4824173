"""`headway schedules run`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from headway.acting import audited
from headway.bus.client.ids import unique_id
from headway.bus.wire import headers, subjects
from headway.bus.wire.codec import encode
from headway.bus.wire.periodic import Tick
from headway.commands import base, options
from headway.commands.schedules.shared import existing
from headway.endpoint import ServerAccess, require


@click.command(epilog=base.examples("headway schedules run fax nightly-report"))
@click.argument("service")
@click.argument("job")
@options.server
def run(*, service: str, job: str, url: str | None, creds: str | None, directory: Path) -> int:
    """Start one run of a periodic JOB of SERVICE now, paused or not. Its other runs stay as they are."""
    return base.run(_run(require(url, creds, directory), service, job))


async def _run(endpoint: ServerAccess, service: str, job: str) -> None:
    async with await endpoint.connect("schedules") as bus, audited(bus):
        await existing(bus, service, job)
        tick = encode(Tick(at=datetime.now(UTC), manual=True))
        receipt = await bus.store(subjects.periodic(service, job), tick, {headers.MESSAGE_ID: unique_id()})
    click.echo(f"stored in {receipt.stream} as {receipt.seq}")
