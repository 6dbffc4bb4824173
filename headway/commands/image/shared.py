"""What the commands on images share: which image is meant, its facts, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from headway.images import image as images
from headway.images.errors import NoImage
from headway.images.image import Manifest

SHORT: Final = 12
"""Hex digits of a digest that are shown, as many as make it unique."""


def pick(directory: Path, name: tuple[str, ...]) -> str:
    """Return the digest of the image that is named: by service and version, or by a digest or its beginning.

    Raises:
        NoImage: if there is none, or several.
    """
    if len(name) == 2:
        return images.resolve(directory, *name)
    found = [digest for digest in images.digests(directory) if digest.startswith(name[0].removeprefix("sha256:"))]
    if len(name) != 1 or len(found) != 1:
        what = "several images begin" if len(found) > 1 else "no image begins"
        raise NoImage(f"{what} with {' '.join(name)}", remedy="name a service and a version, or a digest of `image ls`")
    return found[0]


def facts(manifest: Manifest) -> dict[str, Any]:
    """Return what an image is, as JSON types."""
    return {
        "service": manifest.service,
        "version": manifest.version,
        "app": manifest.app,
        "config": manifest.config,
        "python": manifest.python,
        "headway": manifest.headway,
        "files": len(manifest.files),
        "requirements": manifest.requirements,
        "handlers": list(manifest.schemas),
    }


def new_table(*columns: str) -> Table:
    """Return an empty table; without headings if all are blank."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=any(map(str.strip, columns)))
    for column in columns:
        table.add_column(column.strip(), overflow="fold", justify="right" if column in {"FILES", "SIZE"} else "left")
    return table


def show(table: Table) -> None:
    """Print a table."""
    Console(highlight=False).print(table)


def size(number: int) -> str:
    """Return a number of bytes: 950 B, 12.3 kB, 4.1 MB."""
    if number < 1000:
        return f"{number} B"
    return f"{number / 1000:.1f} kB" if number < 1_000_000 else f"{number / 1_000_000:.1f} MB"
