"""`headway new`: make a new project."""

from __future__ import annotations

from pathlib import Path

import click

from headway import scaffold
from headway.commands.base import examples


@click.command(
    epilog=examples(
        "headway new shop                        # two services and a page",
        "headway new shop --template minimal     # one service",
    )
)
@click.argument("target", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--template",
    type=click.Choice(list(scaffold.TEMPLATES)),
    default="page",
    show_default=True,
    help="minimal: one service; service: two; page: two, and a page that shows their objects.",
)
def new(*, target: Path, template: str) -> int:
    """Make a new project in the folder NAME: services, tests, a Dockerfile, a CI workflow and editor settings."""
    texts = scaffold.files(target.name, template)
    try:
        from headway.config import json_schema
    except ModuleNotFoundError:  # the base install does not have the control plane: editors do without the schema
        schema = None
    else:
        schema = json_schema()
    scaffold.write(target, texts, schema)
    click.echo(f"made {target}: {len(texts)} files")
    click.echo(f"next: cd {target} && uv sync && uv run headway dev")
    return 0
