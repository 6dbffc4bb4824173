"""`headway image trust`."""

from __future__ import annotations

from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples
from headway.images import seal, signing


@click.command(epilog=examples("headway image trust ci ed25519:mC1…"))
@click.argument("name")
@click.argument("key")
@options.directory
def trust(*, name: str, key: str, directory: Path) -> None:
    """Run images that KEY has signed from now on, too. NAME is for people."""
    signing.adopt(directory)
    seal.trust(directory, name, key)
    click.echo(f"trusted: {name}")
