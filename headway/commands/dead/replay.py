"""`headway dead replay`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.bus.client import dead as letters
from headway.bus.errors import HeadwayError, InvalidSubject, NotFound, UsageError
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.dead.shared import filters
from headway.endpoint import ServerAccess, find
from headway.format import visible


@click.command(
    epilog=examples(
        "headway dead replay 17 18",
        "headway dead replay --service fax --all",
    ),
)
@click.argument("seqs", type=int, nargs=-1)
@filters
@click.option("--all", "all_", is_flag=True, help="All that --service and --tenant select.")
@options.server
def replay(
    *,
    seqs: tuple[int, ...],
    service: str | None,
    tenant: str | None,
    all_: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Put dead letters back into their queue, and delete them once they are stored there."""
    if bool(seqs) == (all_ or service is not None or tenant is not None):
        raise UsageError(
            "which ones?", remedy="give numbers from `headway dead ls`, or --all with --service or --tenant"
        )
    return run(_replay(find(url, creds, directory), seqs, service, tenant))


async def _replay(endpoint: ServerAccess, seqs: tuple[int, ...], service: str | None, tenant: str | None) -> None:
    count = 0
    failed: list[HeadwayError] = []
    async with await endpoint.connect("dead") as bus, audited(bus) as outcome:
        if seqs:
            wanted = [await letters.show(bus.js, seq) for seq in seqs]
        else:
            wanted = [letter async for letter in letters.list_(bus.js, service, tenant)]
        for letter in wanted:
            try:
                await letters.replay(bus, letter)
            except (NotFound, InvalidSubject) as error:  # of this letter alone; the others may be replayed
                click.echo(f"not replayed: {letter.seq}: {visible(str(error))}", err=True)
                failed.append(error)
                continue
            what = f"{letter.service}/{letter.operation} of {letter.tenant}"
            click.echo(visible(f"replayed {letter.seq}: {what}"))
            count += 1
        outcome.said = f"replayed {count}, failed {len(failed)}"
    if failed:
        raise failed[0]
    if not count:
        click.echo("no dead letters")
