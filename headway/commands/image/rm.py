"""`headway image rm`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.bus.errors import ConnectionFailed, UsageError
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.image.shared import SHORT, pick
from headway.endpoint import require
from headway.images import image as images
from headway.images.errors import ImageInUse


@click.command(epilog=examples("headway image rm fax v1"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Remove it even if no server can tell whether it is in use.")
@options.server
def rm(*, name: tuple[str, ...], force: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Remove an image and its label, unless it may still be needed.

    It asks the server: versions that are not retired, rollouts and their rollback windows keep their images, even
        with --force.
    """
    return run(_rm(url, creds, directory, pick(directory, name), force=force))


async def _rm(url: str | None, creds: str | None, directory: Path, digest: str, *, force: bool) -> None:
    from headway.control.store import Control
    from headway.deployer.usage import needed_for
    from headway.images import store

    try:
        # Not a server at the default address: it may know nothing of the images here.
        async with await require(url, creds, directory).connect("image") as bus:
            control = Control(bus)
            await control.refresh()
    except (ConnectionFailed, UsageError) as error:
        if not force:
            raise ImageInUse(
                f"cannot find out whether {digest[:SHORT]} is in use: {error.message}",
                remedy="start the server, or remove it with --force: a version that needs it then cannot start workers",
            ) from error
    else:
        needed = needed_for(control, images.labels(directory), digest)
        if needed:
            raise ImageInUse(f"{digest[:SHORT]} is in use: {', '.join(needed)}")
    store.remove(directory, digest)
    click.echo(f"removed {digest[:SHORT]}")
