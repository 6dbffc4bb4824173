"""Which files each service consists of, and which services an edit affects."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType


def files_of(
    apps: Mapping[str, str], modules: Mapping[str, ModuleType], root: Path
) -> dict[str, frozenset[Path] | None]:
    """Return the project's files that each service consists of.

    A file counts if the service's module imports it, directly or through others. A file that was imported in a way
    that its source does not show belongs to every service.

    Args:
        apps: `module:variable` of each service.
        modules: the modules that a process has imported for them, by name.
        root: folder of the project, resolved.
    """
    ours = {name: file for name, module in modules.items() if (file := _file(module, root)) is not None}
    reached = {service: _reached(app.partition(":")[0], ours) for service, app in apps.items()}
    hidden = frozenset(ours.values()).difference(*reached.values())
    return {service: files | hidden for service, files in reached.items()}


def affected(changed: AbstractSet[Path], known: Mapping[str, AbstractSet[Path] | None]) -> list[str]:
    """Return the services that changed files belong to.

    Args:
        changed: the files.
        known: the files of each service; None if its last import failed, so that any file may mend it.
    """
    return [service for service, files in known.items() if files is None or not files.isdisjoint(changed)]


def _file(module: ModuleType, root: Path) -> Path | None:
    """Return the file of a module of the project; None for an installed one."""
    name = getattr(module, "__file__", None)
    path = Path(name).resolve() if name else None
    if path is None or not path.is_relative_to(root) or path.is_relative_to(Path(sys.prefix).resolve()):
        return None
    return path


def _reached(name: str, ours: Mapping[str, Path]) -> frozenset[Path]:
    """Return the files of a module and of all that it imports."""
    todo, seen = [name], set[str]()
    while todo:
        one = todo.pop()
        if one in seen or one not in ours:
            continue
        seen.add(one)
        todo += _imported(one, ours[one])
    return frozenset(ours[one] for one in seen)


def _imported(name: str, file: Path) -> Iterator[str]:
    """Yield the modules that a module may import, and the packages around them."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    yield from _around(name)
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # it was edited in between
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _around(alias.name)
        elif isinstance(node, ast.ImportFrom):
            with contextlib.suppress(ImportError):
                base = resolve_name("." * node.level + (node.module or ""), package or None)
                yield from _around(base)
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _around(name: str) -> Iterator[str]:
    """Yield a module and the packages that it is in."""
    while name:
        yield name
        name = name.rpartition(".")[0]
