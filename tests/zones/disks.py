"""Disks that are files: a file system in a file, mounted over a loop device. Almost all of the file is a hole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.zones.unavailable import Unavailable

SIZE = 24 << 30
"""Bytes of a disk: bounds of streams are room that a server promises."""
_FILLER = "filler"


def run(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def make(image: Path) -> Path:
    """An empty disk.

    Raises:
        Unavailable: without root or mkfs.ext4.
    """
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        raise Unavailable("disks of their own need root and mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(SIZE)
    if not run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=16", image):
        raise Unavailable(f"no file system can be made in {image}")
    return image


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """Where a disk is, inside the block.

    Raises:
        Unavailable: if file systems cannot be mounted here.
    """
    place = image.with_suffix(".mnt")
    place.mkdir()
    if not run("mount", "-o", "loop", image, place):
        raise Unavailable("file systems cannot be mounted here")
    try:
        yield place
    finally:
        if not run("umount", place):
            run("umount", "-l", place)


def fill(place: Path) -> None:
    """Take all room that a disk has left. Blocks are only set aside: nothing is written."""
    with (place / _FILLER).open("ab") as file:
        step = SIZE
        while step >= 4096:
            size = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), size, step)
            except OSError:
                step //= 2


def free(place: Path) -> None:
    """Give it back."""
    (place / _FILLER).unlink(missing_ok=True)
