"""`headway image sign`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import person
from headway.commands import options
from headway.commands.base import examples
from headway.commands.image.shared import SHORT, pick
from headway.images import signing
from headway.images.seal import Sealer


@click.command(epilog=examples("headway image sign fax v2", "headway image sign 3f2a9c --key release-key"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign with this key.  [default: the environment's own]",
)
@options.directory
def sign(*, name: tuple[str, ...], key: Path | None, directory: Path) -> None:
    """Sign an image that you trust, and that was not built here. Every byte is compared with its digest first."""
    digest = pick(directory, name)
    manifest = signing.sign_trusted(directory, digest, person(), None if key is None else Sealer.load(key))
    click.echo(f"signed: {manifest.service} {manifest.version}  {digest[:SHORT]}")
