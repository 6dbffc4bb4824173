"""`headway image ls`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import SHORT, new_table, show, size
from headway.images import image as images
from headway.images.errors import ImageChanged


@click.command(epilog=examples("headway image ls fax"))
@click.argument("service", required=False)
@options.directory
@json_option
def ls(*, service: str | None, directory: Path, as_json: bool) -> None:
    """List images."""
    labels = {digest: key for key, digest in images.labels(directory).items()}
    found = [(labels.get(digest), digest) for digest in images.digests(directory)]
    chosen = sorted(
        ((label or ("", ""), digest) for label, digest in found if service is None or (label or ("",))[0] == service)
    )
    if as_json:
        listed = [{"service": of, "version": version, "digest": digest} for (of, version), digest in chosen]
        click.echo(json.dumps(listed))
        return
    if not chosen:
        click.echo("no images")
        return
    rows = new_table("SERVICE", "VERSION", "DIGEST", "FILES", "SIZE", "PYTHON")
    for (of, version), digest in chosen:
        try:
            manifest = images.read(images.folder(directory, digest))
            facts = [str(len(manifest.files)), size(manifest.size), manifest.python]
        except ImageChanged:
            facts = ["damaged", "-", "-"]
        rows.add_row(of or "-", version or "-", digest[:SHORT], *facts)
    show(rows)
