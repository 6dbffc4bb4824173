"""Which files make up a service: its own folder, and the local modules that it imports.

Of a package that is imported all files belong to the image, of the packages around the service only their `__init__.py`
and what is imported: `headway.services.fax` does not bring `headway.services.voicemail` along.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from headway.images.errors import BuildFailed

HEADWAY: Final = "headway"
"""What is installed with Headway, and recorded as its version."""
_OURS: Final = Path(__file__).parents[1]
"""The folder of Headway itself. The reference services in it are built as if it were any folder with services."""
_EXCLUDED: Final = (".*", "__pycache__", "*.pyc", "*.pyo", "*.egg-info", "node_modules", "venv", "*.creds", "*.nk")
"""Names of files and folders that never belong to an image. The first one covers .git, .venv, .env and .headway."""
_SECRET: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bS[ACNOUX][A-Z2-7]{56}\b|BEGIN NATS USER JWT")
_GIT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was read, once."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service is.

    Attributes:
        root: the folder that its modules are imported from.
        module: its own module.
        path: its folder or file.
    """

    root: Path
    module: str
    path: Path


@dataclass(slots=True)
class Source:
    """What was gathered.

    Attributes:
        files: by path below the root.
        external: dotted names that the code imports from elsewhere.
    """

    files: dict[str, Content] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)


def locate(path: Path, app: str | None) -> Place:
    """Find the folder that `path` is imported from: the first one above it that is no package itself.

    Args:
        path: the service's folder, or its only file.
        app: `module:variable`, if the service is imported by another name than that.

    Raises:
        BuildFailed: if there is no Python there, or `app` is not in it.
    """
    path = path.absolute()
    if path.is_dir():
        parts = [path.name]
        if not any(path.glob("*.py")):
            raise BuildFailed(f"there is no Python file in {path}", remedy="name the folder of a service")
    elif path.suffix == ".py" and path.is_file():
        parts = [path.stem]
    else:
        raise BuildFailed(f"{path} is no folder and no Python file", remedy="name the folder of a service")
    if app is not None:
        wanted = app.partition(":")[0].split(".")
        names = (*path.parts[1:-1], parts[0])
        for count in range(min(len(wanted), len(names)), 0, -1):
            if names[-count:] == tuple(wanted[:count]):
                return Place(path.parents[count - 1], app.partition(":")[0], path)
        raise BuildFailed(f"{app} is not in {path}", remedy="name the folder that the module is in")
    root = path.parent
    while root != _OURS and (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if not all(part.isidentifier() for part in parts):
        raise BuildFailed(f"{'.'.join(parts)} cannot be imported", remedy="name it as a Python package")
    return Place(root, ".".join(parts), path)


def gather(place: Place) -> Source:
    """Read the service's files, and those of the local modules that it imports.

    Raises:
        BuildFailed: for links to folders, files that cannot be read, and files that hold a key.
    """
    gathered = _Gathering(place)
    gathered.tree(place.path) if place.path.is_dir() else gathered.file(place.path)
    gathered.follow(place.module)
    found = gathered.found
    for name in _ignored_by_git(place.root, found.files):
        del found.files[name]
    secret = [name for name, content in sorted(found.files.items()) if holds_key(content.data)]
    if secret:
        raise BuildFailed(
            f"{', '.join(secret)} holds a secret key, and images hold none",
            remedy="take it out of the folder; workers get credentials by HEADWAY_NATS_CREDS",
        )
    return found


def imported(place: Place, modules: Iterable[str]) -> set[str]:
    """Return the dotted names that local modules, directly or indirectly, import from elsewhere."""
    gathered = _Gathering(place)
    for module in modules:
        gathered.follow(module)
    return gathered.found.external


def holds_key(data: bytes) -> bool:
    """Whether there is a private key or a NATS seed in it."""
    return _SECRET.search(data) is not None


class _Gathering:
    def __init__(self, place: Place) -> None:
        self.found = Source()
        self._root = place.root
        self._around = {place.root, *(p for p in place.path.parents if p.is_relative_to(place.root))}
        self._followed: set[str] = set()

    def follow(self, module: str) -> None:
        """Take a module, and whatever it imports, in."""
        todo = [module]
        while todo:
            name = todo.pop()
            if name in self._followed:
                continue
            self._followed.add(name)
            if "." in name:
                todo.append(name.rpartition(".")[0])
            path = self._path(name)
            if path is None:
                if self._path(name.rpartition(".")[0] or name) is None:
                    self.found.external.add(name)
                continue
            self._take(path)
            if path.suffix == ".py":
                todo += imports(path.read_bytes(), name, package=path.name == "__init__.py")

    def _path(self, name: str) -> Path | None:
        """Where a local module is: its file, or its folder if that has no `__init__.py`."""
        first = name.partition(".")[0]
        if first == HEADWAY or first in sys.stdlib_module_names:
            return None
        base = self._root.joinpath(*name.split("."))
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
        native = sorted(base.parent.glob(f"{base.name}.*.so")) + sorted(base.parent.glob(f"{base.name}.so"))
        if native:
            return native[0]
        if not base.is_dir() or not any(base.rglob("*.py")):
            return None
        # A folder without __init__.py yields to whatever else has its name, wherever on the path that is.
        spec = PathFinder.find_spec(first) if base.parent == self._root else None
        return base if spec is None or spec.origin is None else None

    def _take(self, path: Path) -> None:
        if path.is_dir():
            if path not in self._around:
                self.tree(path)
        elif path.parent in self._around:
            self.file(path)
        else:
            self.tree(path.parent)

    def tree(self, directory: Path) -> None:
        """Take all files below a folder in."""
        for at, folders, names in os.walk(directory):
            folders[:] = [name for name in folders if not _excluded(name)]
            for name in folders:
                if (Path(at) / name).is_symlink():
                    raise BuildFailed(f"{Path(at) / name} is a link to a folder", remedy="put the folder itself there")
            for name in names:
                if not _excluded(name):
                    self.file(Path(at) / name)

    def file(self, path: Path) -> None:
        """Take one file in, unless it was taken before or is none (a socket, a pipe)."""
        name = path.relative_to(self._root).as_posix()
        if name in self.found.files or not path.is_file():
            return
        if not name.isprintable():  # what is no UTF-8 is not printable either
            raise BuildFailed(f"{name!r} is no name for a file of an image", remedy="rename it")
        try:
            self.found.files[name] = Content(path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
        except OSError as error:
            raise BuildFailed(f"{path} cannot be read: {error.strerror}", remedy="check its owner and mode") from error


def imports(code: bytes, module: str, *, package: bool) -> Iterator[str]:
    """Yield the dotted names that code imports anywhere; for `from a import b` both `a` and `a.b`.

    What only a type checker imports does not count, and code that cannot be parsed imports nothing.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    inside = module.split(".") if package else module.split(".")[:-1]
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and _type_checking(node.test):
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module.split(".") if node.module else [])])
            if origin:
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names if alias.name != "*")


def _type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _excluded(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _EXCLUDED)


def _ignored_by_git(root: Path, names: Iterable[str]) -> list[str]:
    """Of these files, those that the project's .gitignore names; none where there is no git."""
    # Not the user's own ignore file: the same source makes the same image everywhere.
    command = ["git", "-c", f"core.excludesFile={os.devnull}", "-C", str(root), "check-ignore", "-z", "--stdin"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=os.fsencode("\0".join(names)), capture_output=True, timeout=_GIT_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [name for name in os.fsdecode(done.stdout).split("\0") if name]
