"""Files that are either the old or the new one, never a half, and readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Replace a file's content in one step, with mode 0600."""
    temporary = _beside(path, data)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def create(path: Path, data: bytes) -> bool:
    """Make a file with mode 0600, unless there is one already: then that one stays, and False is returned."""
    temporary = _beside(path, data)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _beside(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:  # a full disk, say
        temporary.unlink(missing_ok=True)
        raise
    return temporary
