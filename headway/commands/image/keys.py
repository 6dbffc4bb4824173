"""`headway image keys`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.images import seal
from headway.images.seal import Sealer


@click.command(epilog=examples("headway image keys", "headway image keys --new release-key"))
@click.option("--new", type=click.Path(dir_okay=False, path_type=Path), help="Write a new private key to this file.")
@options.directory
@json_option
def keys(*, new: Path | None, directory: Path, as_json: bool) -> None:
    """List the public keys whose images run in this environment; or make a key for a machine that builds."""
    found = {"new": Sealer.create(new).public} if new is not None else dict(seal.trusted(directory))
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, public in found.items():
        click.echo(f"{public}  {name}")
    if new is not None:
        click.echo(f"  keep {new} there; next: headway image trust NAME {found['new']}")
    elif not found:
        click.echo("no keys: the first `headway image build` makes one")
