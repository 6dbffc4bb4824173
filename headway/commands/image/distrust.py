"""`headway image distrust`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples
from headway.images import seal


@click.command(epilog=examples("headway image distrust ci"))
@click.argument("name")
@options.directory
def distrust(*, name: str, directory: Path) -> None:
    """Start no worker any more from images that this key alone has signed. Running workers stay."""
    seal.distrust(directory, name)
    click.echo(f"no longer trusted: {name}")
