"""`headway backup create`: all streams and the files of the data directory in one backup."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from headway.acting import audited
from headway.backup.create import create as create_
from headway.broker.broker import Broker
from headway.broker.identity import KEY_FILE
from headway.commands import options
from headway.commands.backup.shared import say, told
from headway.commands.base import examples, run
from headway.endpoint import ServerAccess, find, server_url

SETTLE: Final = 10.0


@click.command(
    epilog=examples(
        "headway backup create /backups/monday.tar",
        "headway backup create /backups/monday       # a folder, as `nats stream restore` reads it",
    )
)
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=SETTLE,
    show_default=True,
    help="Seconds to finish jobs in progress.",
)
@click.option("--no-pause", is_flag=True, help="Keep delivering jobs and events meanwhile.")
@options.server
def create(*, target: Path, settle: float, no_pause: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Save all streams with their consumers, and keys, routes, credentials and images of the data directory.

    TARGET is a new folder, or a new file if its name ends in .tar. It holds secret keys: protect it like those. While
    queues are saved no job is delivered; new jobs are stored as usual. A stopped installation can be saved, too.
    """
    endpoint = find(url, creds, directory)
    named = server_url(url) is not None
    if endpoint.running is None and not named and (directory / KEY_FILE).exists():
        return run(_stopped(directory, target))
    return run(_running(endpoint, directory, target, None if no_pause else settle))


async def _running(endpoint: ServerAccess, directory: Path, target: Path, settle: float | None) -> None:
    async with await endpoint.connect("backup") as bus, audited(bus):
        manifest = await create_(bus, endpoint.url, directory, target, settle=settle, say=say)
    if not manifest.settled:
        say("jobs were in progress: unfinished ones are in the backup and will run again after a restore")
    click.echo(f"saved {target}: {told(manifest)}")


async def _stopped(directory: Path, target: Path) -> None:
    """Save an installation whose server does not run, with a temporary private server."""
    async with (
        Broker.start(directory, port=0, ws_port=None, provision=False) as broker,
        await broker.connect("operator", name="backup") as bus,
        audited(bus),
    ):
        manifest = await create_(bus, broker.url, directory, target, settle=0, say=say)
    click.echo(f"saved {target}: {told(manifest)}")
