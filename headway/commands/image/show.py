"""`headway image show`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import SHORT, facts, pick, size
from headway.images import image as images
from headway.images import seal
from headway.images.sbom import document


@click.command(epilog=examples("headway image show fax v2"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@click.option("--sbom", is_flag=True, help="Print its bill of materials (CycloneDX JSON).")
@click.option("--provenance", is_flag=True, help="Print the signed statement about it (in-toto JSON).")
@options.directory
@json_option
def show(*, name: tuple[str, ...], sbom: bool, provenance: bool, directory: Path, as_json: bool) -> None:
    """Show the contents of an image."""
    digest = pick(directory, name)
    if provenance:
        statement = seal.check(images.folder(directory, digest), digest)
        click.echo(json.dumps(statement, indent=2))
        return
    if sbom:
        click.echo(document(images.read(images.folder(directory, digest))), nl=False)
        return
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
