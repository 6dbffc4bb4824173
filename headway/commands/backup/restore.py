"""`headway backup restore`: restore an installation, or the streams of a server, from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from headway.backup import archive
from headway.backup.restore import into_directory, into_server
from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.backup.shared import say, told
from headway.commands.base import examples, run
from headway.endpoint import ServerAccess, default_directory, find, server_url


@click.command(
    epilog=examples(
        "headway backup restore /backups/monday.tar",
        "headway backup restore /backups/monday.tar --check",
        "headway backup restore /backups/monday.tar --url nats://n0:4222 --creds operator.creds",
    )
)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--replace", is_flag=True, help="Move a data directory aside; delete streams of a server.")
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies of each stream.  [default: as in the backup]")
@click.option("--check", is_flag=True, help="Only check that the backup is complete.")
@options.server
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
    """Create a data directory from a backup, or with --url restore its streams to a running server.

    The backup is verified before anything is changed. Existing data is kept unless --replace is given; a data
    directory with a running server is always kept.
    """
    url = server_url(url)
    if check:
        with archive.reading(source, Path.cwd()) as reader:
            click.echo(f"{source} is complete: {told(reader.manifest)}")
        return 0
    if url is None:
        if replicas is not None:
            raise UsageError(
                "--replicas is for a cluster", remedy="give the cluster with --url, or set replicas in headway.yaml"
            )
        return run(_into_directory(source, directory.absolute(), replace=replace))
    return run(_into_server(source, find(url, creds, directory), replace=replace, replicas=replicas))


async def _into_directory(source: Path, directory: Path, *, replace: bool) -> None:
    former = await into_directory(source, directory, replace=replace, say=say)
    if former is not None:
        say(f"the former directory is now {former}")
    place = "" if directory == default_directory().absolute() else f" --dir {directory}"
    click.echo(f"restored {directory}; next: headway up{place}")


async def _into_server(source: Path, endpoint: ServerAccess, *, replace: bool, replicas: int | None) -> None:
    async with await endpoint.connect("restore") as bus:
        await into_server(source, bus, Path.cwd(), replace=replace, replicas=replicas, say=say)
    click.echo(f"restored the streams at {endpoint.url}; its keys and routes are unchanged")
