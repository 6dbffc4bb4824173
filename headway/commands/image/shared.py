"""What the image commands share: finding the image that is meant, its facts, tables."""

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
    """Return the digest of an image, given as service and version or as a digest or its beginning.

    Raises:
        NoImage: if no image or several images match.
    """
    if len(name) == 2:
        return images.resolve(directory, *name)
    found = [digest for digest in images.digests(directory) if digest.startswith(name[0].removeprefix("sha256:"))]
    if len(name) != 1 or len(found) != 1:
        what = "several images begin" if len(found) > 1 else "no image begins"
        raise NoImage(
            f"{what} with {' '.join(name)}", remedy="give a service and a version, or a digest from `image ls`"
        )
    return found[0]


def facts(manifest: Manifest) -> dict[str, Any]:
    """Return the facts about an image, as JSON types."""
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
    """Return an empty table; without a header if all headings are blank."""
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
