"""`headway image diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import new_table, show
from headway.deployer.diff import Changes, Difference
from headway.images import image as images


@click.command(epilog=examples("headway image diff fax v1 v2"))
@click.argument("service")
@click.argument("old")
@click.argument("new")
@options.directory
@json_option
def diff(*, service: str, old: str, new: str, directory: Path, as_json: bool) -> None:
    """Show what version NEW of a service changes compared with OLD, and what it would break."""
    from headway.deployer.diff import diff as compare

    before, after = (
        images.read(images.folder(directory, images.resolve(directory, service, version))) for version in (old, new)
    )
    found = compare(before, after)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _tell(found)


def _tell(found: Difference) -> None:
    if found.nothing:
        click.echo("no difference except the label")
        return
    for title, changes in (
        ("program", found.program),
        ("configuration", found.config),
        ("requirements", found.requirements),
        ("files", found.files),
    ):
        if changes:
            click.echo(title)
            show(_changes(changes, values=title != "files"))
    if found.handlers:
        click.echo("handlers")
        rows = new_table(*"  ")
        for name, what in found.handlers.items():
            rows.add_row(f" {_MARKS[what]}", name)
        show(rows)
    for sentence in found.breaking:
        click.echo(f"breaks: {sentence}")


_MARKS = {"added": "+", "removed": "-", "changed": "~"}


def _changes(changes: Changes, *, values: bool) -> Table:
    rows = new_table(*"    ")
    for name, (was, now) in changes.items():
        mark = "+" if was is None else "-" if now is None else "~"
        told = f"{_told(was)} -> {_told(now)}" if values else ""
        rows.add_row(f" {mark}", name, told)
    return rows


def _told(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
