"""`headway image show`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import SHORT, facts, pick, size
from headway.images import image as images


@click.command(epilog=examples("headway image show fax v2"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@options.directory
@json_option
def show(*, name: tuple[str, ...], directory: Path, as_json: bool) -> None:
    """Show the contents of an image."""
    digest = pick(directory, name)
    manifest = images.read(images.folder(directory, digest))
    if as_json:
        click.echo(json.dumps({"digest": digest, **manifest.model_dump(mode="json")}))
        return
    found = facts(manifest)
    told = {name: found[name] for name in ("service", "version", "app", "config", "python", "headway")}
    for key, value in {**told, "digest": digest, "source": images.folder(directory, digest) / images.SOURCE}.items():
        click.echo(f"{key:<9}{json.dumps(value) if isinstance(value, dict) else value}")
    click.echo("\nhandlers")
    for handler in manifest.schemas:
        click.echo(f"  {handler}")
    click.echo("\nrequirements")
    for requirement, version in manifest.requirements.items():
        click.echo(f"  {requirement}=={version}")
    click.echo("\nfiles")
    for path, file in manifest.files.items():
        click.echo(f"  {file.sha256[:SHORT]}  {size(file.size):>9}  {path}")
