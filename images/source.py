"""Find the files of a service: its own folder, and the local modules that it imports.

All files of an imported package belong to the image. Of the packages that contain the service, only `__init__.py` and
imported modules do: `headway.services.fax` does not include `headway.services.voicemail`.
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
"""The package of Headway itself, of which a manifest records only the version."""
_OURS: Final = Path(__file__).parents[1]
"""The folder of Headway itself. Its reference services are built like those of any other folder."""
_EXCLUDED: Final = (".*", "__pycache__", "*.pyc", "*.pyo", "*.egg-info", "node_modules", "venv", "*.creds", "*.nk")
"""Names of files and folders that never belong to an image. The first one covers .git, .venv, .env and .headway."""
_SECRET: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bS[ACNOUX][A-Z2-7]{56}\b|BEGIN NATS USER JWT")
_GIT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file, read once."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The location of a service.

    Attributes:
        root: the folder that its modules are imported from.
        module: its own module.
        path: its folder or file.
    """

    root: Path
    module: str
    path: Path


@dataclass(slots=True)
class SourceFiles:
    """The collected source of a service.

    Attributes:
        files: contents by path below the root.
        external: dotted names that the code imports from elsewhere.
    """

    files: dict[str, Content] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)


def locate(path: Path, app: str | None) -> Place:
    """Find the folder that `path` is imported from: the first parent that is not a package.

    Args:
        path: the service's folder, or its only file.
        app: `module:variable`, if the service is imported under another name.

    Raises:
        BuildFailed: if there is no Python file, or `app` is not in `path`.
    """
    path = path.absolute()
    if path.is_dir():
        parts = [path.name]
        if not any(path.glob("*.py")):
            raise BuildFailed(f"there is no Python file in {path}", remedy="give the folder of a service")
    elif path.suffix == ".py" and path.is_file():
        parts = [path.stem]
    else:
        raise BuildFailed(f"{path} is neither a folder nor a Python file", remedy="give the folder of a service")
    if app is not None:
        wanted = app.partition(":")[0].split(".")
        names = (*path.parts[1:-1], parts[0])
        for count in range(min(len(wanted), len(names)), 0, -1):
            if names[-count:] == tuple(wanted[:count]):
                return Place(path.parents[count - 1], app.partition(":")[0], path)
        raise BuildFailed(f"{app} is not in {path}", remedy="give the folder that contains the module")
    root = path.parent
    while root != _OURS and (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if not all(part.isidentifier() for part in parts):
        raise BuildFailed(f"{'.'.join(parts)} cannot be imported", remedy="rename it to a valid Python package name")
    return Place(root, ".".join(parts), path)


def gather(place: Place) -> SourceFiles:
    """Read the service's files, and those of the local modules that it imports.

    Raises:
        BuildFailed: for links to folders, unreadable files, and files that contain a secret key.
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
            f"{', '.join(secret)} contains a secret key, which must not be in an image",
            remedy="remove it from the folder; workers get credentials by HEADWAY_NATS_CREDS",
        )
    return found


def imported(place: Place, modules: Iterable[str]) -> set[str]:
    """Return the dotted names that local modules import from elsewhere, directly or indirectly."""
    gathered = _Gathering(place)
    for module in modules:
        gathered.follow(module)
    return gathered.found.external


def holds_key(data: bytes) -> bool:
    """Return whether data contains a private key or a NATS seed."""
    return _SECRET.search(data) is not None


class _Gathering:
    def __init__(self, place: Place) -> None:
        self.found = SourceFiles()
        self._root = place.root
        self._around = {place.root, *(p for p in place.path.parents if p.is_relative_to(place.root))}
        self._followed: set[str] = set()

    def follow(self, module: str) -> None:
        """Add a module and everything that it imports."""
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
        """Return the file of a local module, or its folder if that has no `__init__.py`; None if it is not local."""
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
        # Any other module of the same name on the path takes precedence over a folder without __init__.py.
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
        """Add all files below a folder."""
        for at, folders, names in os.walk(directory):
            folders[:] = [name for name in folders if not _excluded(name)]
            for name in folders:
                if (Path(at) / name).is_symlink():
                    raise BuildFailed(
                        f"{Path(at) / name} is a link to a folder", remedy="replace it with the folder itself"
                    )
            for name in names:
                if not _excluded(name):
                    self.file(Path(at) / name)

    def file(self, path: Path) -> None:
        """Add one file, unless it was added before or is not a regular file."""
        name = path.relative_to(self._root).as_posix()
        if name in self.found.files or not path.is_file():
            return
        if not name.isprintable():  # names that are not UTF-8 are not printable either
            raise BuildFailed(f"{name!r} is not a valid file name in an image", remedy="rename it")
        try:
            self.found.files[name] = Content(path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
        except OSError as error:
            raise BuildFailed(f"{path} cannot be read: {error.strerror}", remedy="check its owner and mode") from error


def imports(code: bytes, module: str, *, package: bool) -> Iterator[str]:
    """Yield the dotted names that code imports anywhere; for `from a import b` both `a` and `a.b`.

    Imports under TYPE_CHECKING do not count, and code that cannot be parsed imports nothing.
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
    """Return the files that the project's .gitignore excludes; none without git."""
    # The user's own ignore file does not count: the same source gives the same image everywhere.
    command = ["git", "-c", f"core.excludesFile={os.devnull}", "-C", str(root), "check-ignore", "-z", "--stdin"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=os.fsencode("\0".join(names)), capture_output=True, timeout=_GIT_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [name for name in os.fsdecode(done.stdout).split("\0") if name]
