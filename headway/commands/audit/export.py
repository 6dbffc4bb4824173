"""`headway audit export`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.audit.shared import line
from headway.commands.base import examples, run
from headway.control import audit
from headway.endpoint import ServerAccess, find


@click.command(epilog=examples("headway audit export audit-2026.jsonl", "headway audit export - --after 1200 | gzip"))
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries after this number.")
@options.server
def export(*, target: Path, after: int, url: str | None, creds: str | None, directory: Path) -> int:
    """Write all entries to TARGET, a new file, one JSON object per line; `-` is standard output.

    The log keeps entries for 400 days. Export them regularly to a place that operators cannot change.
    """
    return run(_export(find(url, creds, directory), target, after))


async def _export(endpoint: ServerAccess, target: Path, after: int) -> None:
    async with await endpoint.connect("audit") as bus:
        if str(target) == "-":
            async for logged in audit.entries(bus, after + 1):
                click.echo(line(logged))
            return
        count = 0
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise UsageError(f"{target} exists", remedy="name a new file: an export replaces none") from error
        with os.fdopen(descriptor, "w") as file:
            async for logged in audit.entries(bus, after + 1):
                file.write(line(logged) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
    click.echo(f"exported {count} entries to {target}")
