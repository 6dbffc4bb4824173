"""`headway image verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.bus.errors import HeadwayError
from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import SHORT, pick
from headway.format import counted
from headway.images import image as images
from headway.images import seal
from headway.images.errors import ImageChanged


@click.command(epilog=examples("headway image verify", "headway image verify fax v2"))
@click.argument("name", metavar="[IMAGE]", nargs=-1)
@options.directory
@json_option
def verify(*, name: tuple[str, ...], directory: Path, as_json: bool) -> None:
    """Read every byte of an image, or of all, and compare it with its digest; check its signature."""
    problems: dict[str, HeadwayError] = {}
    chosen = [pick(directory, name)] if name else images.digests(directory)
    for digest in chosen:
        try:
            manifest = seal.verify(images.folder(directory, digest), digest)
        except HeadwayError as error:
            problems[digest] = error
        else:
            if not as_json:
                click.echo(f"{digest[:SHORT]}  as built, signed  {manifest.service} {manifest.version}")
    if as_json:
        click.echo(json.dumps({digest: problems[digest].message if digest in problems else "" for digest in chosen}))
    if problems:
        first = next(iter(problems.values()))
        more = f"; and {counted(len(problems) - 1, 'more image')}" if len(problems) > 1 else ""
        raise ImageChanged(f"{first.message}{more}")
