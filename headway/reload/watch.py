"""Watches the source files of a project."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final

from watchfiles import Change, PythonFilter, awatch

_STEP: Final = 20
"""Milliseconds that files must be unchanged for before an edit counts as complete."""
_DEBOUNCE: Final = 400
"""Most milliseconds to wait for that."""
_TICK: Final = 500
"""Milliseconds after which files are looked at that were edited just before they were watched."""


class _Sources(PythonFilter):
    """Python files, `headway.yaml`, and new folders."""

    def __init__(self) -> None:
        super().__init__(extra_extensions=(".yaml",))

    def __call__(self, change: Change, path: str) -> bool:
        """Return whether a change matters."""
        return super().__call__(change, path) or (change is Change.added and is_source_folder(Path(path)))


def is_source_folder(path: Path) -> bool:
    """Return whether a folder may contain a project's sources: no environment, cache, or hidden folder."""
    name = path.name
    if name.startswith(".") or name in PythonFilter.ignore_dirs or not path.is_dir():
        return False
    return not (path / "pyvenv.cfg").exists()


def folders(root: Path, without: Path) -> list[Path]:
    """Return a project's folders: the root, and all below it that may contain sources.

    Args:
        root: the folder of the project.
        without: one to leave out, such as the data directory, where the server writes all the time.
    """
    found = []
    for folder, below, _ in os.walk(root):
        found.append(Path(folder))
        inner = (Path(folder, name) for name in below)
        below[:] = [path.name for path in inner if path != without and is_source_folder(path)]
    return found


async def edits(
    root: Path, without: Path, since: float, known: Callable[[], Iterable[Path]]
) -> AsyncIterator[set[Path]]:
    """Yield the files that were written, created or removed, in batches.

    Args:
        root: the folder of the project.
        without: one inside it that is not watched.
        since: unix seconds from which edits count; earlier ones are known already.
        known: returns files that are looked at themselves whenever watching starts anew.
    """
    while True:
        first, again = True, False
        async for changes in awatch(
            *folders(root, without),
            watch_filter=_Sources(),
            recursive=False,
            step=_STEP,
            debounce=_DEBOUNCE,
            rust_timeout=_TICK,
            yield_on_timeout=True,
        ):
            changed = {Path(path) for _, path in changes}
            again = any(change is Change.added and is_source_folder(Path(path)) for change, path in changes)
            if first:
                changed |= {path for path in known() if _modified(path) > since}
                first = False
            if again:
                since = time.time()
                changed |= {file for path in changed if path.is_dir() for file in path.rglob("*.py")}
            if changed:
                yield changed
            if again:
                break


def _modified(path: Path) -> float:
    """Return when a file was last written (unix seconds); 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
