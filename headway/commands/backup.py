"""`headway backup` and `headway restore`: all streams and the files of the data directory, in one place."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from headway.backup import archive
from headway.backup.archive import Manifest
from headway.backup.create import create
from headway.backup.restore import into_directory, into_server
from headway.broker.broker import Broker
from headway.broker.identity import KEY_FILE
from headway.bus.errors import UsageError
from headway.cli import examples, run
from headway.endpoint import DEFAULT_DIR, Endpoint, find, options

SETTLE: Final = 10.0


@click.command(
    epilog=examples(
        "headway backup /backups/monday.tar",
        "headway backup /backups/monday       # a folder, as `nats stream restore` reads it",
    )
)
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=SETTLE,
    show_default=True,
    help="Seconds that jobs in hand have to be finished.",
)
@click.option("--no-pause", is_flag=True, help="Go on delivering jobs and events meanwhile.")
@options
def backup(*, target: Path, settle: float, no_pause: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Save all streams with their consumers, and keys, routes, credentials and images of the data directory.

    TARGET is a new folder, or a new file if its name ends in .tar. It holds secret keys: keep it as you keep those.
    While queues are saved no job is delivered; what comes in meanwhile is kept. An installation that is stopped is
    saved as well.
    """
    endpoint = find(url, creds, directory)
    named = bool(url or os.environ.get("HEADWAY_NATS_URL"))
    if endpoint.running is None and not named and (directory / KEY_FILE).exists():
        return run(_stopped(directory, target))
    return run(_running(endpoint, directory, target, None if no_pause else settle))


@click.command(
    epilog=examples(
        "headway restore /backups/monday.tar",
        "headway restore /backups/monday.tar --check",
        "headway restore /backups/monday.tar --url nats://n0:4222 --creds operator.creds",
    )
)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--replace", is_flag=True, help="Move a data directory aside; delete streams of a server.")
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies that streams get.  [default: as they had]")
@click.option("--check", is_flag=True, help="Only check that the backup is whole.")
@options
def restore(
    *,
    source: Path,
    replace: bool,
    replicas: int | None,
    check: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Make a data directory of a backup, or with --url give its streams to a running server.

    The backup is checked before anything is changed. What is there already is left alone unless --replace is given,
    and a data directory on which a server runs in any case.
    """
    url = url or os.environ.get("HEADWAY_NATS_URL")
    if check:
        with archive.reading(source, Path.cwd()) as reader:
            click.echo(f"{source} is whole: {_told(reader.manifest)}")
        return 0
    if url is None:
        if replicas is not None:
            raise UsageError("--replicas is for a cluster", remedy="name it with --url, or set it in headway.yaml")
        return run(_into_directory(source, directory.absolute(), replace=replace))
    return run(_into_server(source, find(url, creds, directory), replace=replace, replicas=replicas))


async def _running(endpoint: Endpoint, directory: Path, target: Path, settle: float | None) -> None:
    async with await endpoint.connect("backup") as bus:
        manifest = await create(bus, endpoint.url, directory, target, settle=settle, say=_say)
    if not manifest.settled:
        _say("jobs were in hand meanwhile: what was not finished is in the backup, and would be done again")
    click.echo(f"saved {target}: {_told(manifest)}")


async def _stopped(directory: Path, target: Path) -> None:
    """Save an installation whose server does not run: by one that nobody else knows of."""
    async with (
        Broker.start(directory, port=0, ws_port=None, provision=False) as broker,
        await broker.connect("operator", name="backup") as bus,
    ):
        manifest = await create(bus, broker.url, directory, target, settle=0, say=_say)
    click.echo(f"saved {target}: {_told(manifest)}")


async def _into_directory(source: Path, directory: Path, *, replace: bool) -> None:
    former = await into_directory(source, directory, replace=replace, say=_say)
    if former is not None:
        _say(f"what was there is in {former}")
    place = "" if directory == DEFAULT_DIR.absolute() else f" --dir {directory}"
    click.echo(f"restored {directory}; next: headway up{place}")


async def _into_server(source: Path, endpoint: Endpoint, *, replace: bool, replicas: int | None) -> None:
    async with await endpoint.connect("restore") as bus:
        await into_server(source, bus, Path.cwd(), replace=replace, replicas=replicas, say=_say)
    click.echo(f"restored the streams at {endpoint.url}; its keys and routes are as they were")


def _told(manifest: Manifest) -> str:
    messages = sum(stream.messages for stream in manifest.streams.values())
    when = datetime.fromtimestamp(manifest.at).astimezone()
    keys = "with keys" if f"{archive.DATA}/{KEY_FILE}" in manifest.files else "without keys"
    return f"{messages:,} messages in {len(manifest.streams)} streams, {keys}, of {when:%Y-%m-%d %H:%M}"


def _say(line: str) -> None:
    click.echo(f"  {line}", err=True)
