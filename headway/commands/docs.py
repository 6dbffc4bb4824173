"""`headway docs`: the AsyncAPI 3 document of a service."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from headway.asyncapi import document
from headway.bus.errors import UsageError
from headway.bus.worker.runner import load
from headway.commands.base import examples


@click.command(epilog=examples("headway docs headway.services.fax:fax -o fax.json"))
@click.argument("app")
@click.option("--version", default="v1", show_default=True, help="The version to describe.")
@click.option("--server", help="host:port of the server in the document.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Output file. [default: standard output]"
)
def docs(*, app: str, version: str, server: str | None, output: Path | None) -> int:
    """Write the AsyncAPI 3 document of a service, from its handlers."""
    text = orjson.dumps(document(load(app), version=version, url=server), option=orjson.OPT_INDENT_2) + b"\n"
    if output is None:
        click.echo(text, nl=False)
        return 0
    try:
        output.write_bytes(text)
    except OSError as error:
        remedy = "choose a writable file"
        raise UsageError(f"cannot write {output}: {error.strerror}", remedy=remedy) from error
    click.echo(f"wrote {output}", err=True)
    return 0
