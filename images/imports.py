"""Import a service only from its image.

    imports.seal(root / "src", manifest.files)      # before the service is imported

The top-level modules of the image are never imported from elsewhere: not from a working tree, not from PYTHONPATH, not
from an installed package of the same name. Each file is compared with the manifest when it is loaded, so only code that
was built runs, however late it is imported. No bytecode is read or written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType
from typing import Any

from headway.images.errors import ImageChanged
from headway.images.image import File, Manifest, check_environment, fingerprint


def seal(source: Path, files: Mapping[str, File]) -> None:
    """Make this process import the modules of an image only from `source`.

    Raises:
        ImageChanged: if one of them was already imported from elsewhere.
    """
    finder = _Finder(source, files)
    taken = sorted(name for name in finder.names if name in sys.modules and not finder.owns(sys.modules[name]))
    if taken:
        raise ImageChanged(
            f"{', '.join(taken)} of the image was already imported from elsewhere",
            remedy="rename it: Headway or one of its dependencies has a module of that name",
        )
    sys.meta_path.insert(0, finder)


def enter(source: Path, manifest: Manifest) -> None:
    """Prepare this process for a verified image: check its requirements, seal its modules, enter its source folder.

    Raises:
        WrongRequirements: if its requirements are not installed here.
        ImageChanged: as `seal`.
        OSError: if its source cannot be the working directory.
    """
    check_environment(manifest)
    seal(source, manifest.files)
    os.chdir(source)


def isolated() -> tuple[list[str], dict[str, str]]:
    """Return command and environment of a Python that ignores the working directory and PYTHONPATH.

    Its child processes write no bytecode either, since that would change the image.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return [sys.executable, "-P"], {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def top_level(files: Iterable[str]) -> frozenset[str]:
    """Return the top-level names that can be imported from a folder with these files."""
    suffixes = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)
    names = {name.partition("/")[0].partition(".")[0] for name in files if name.endswith(suffixes)}
    return frozenset(filter(str.isidentifier, names))


class _Finder(MetaPathFinder):
    def __init__(self, source: Path, files: Mapping[str, File]) -> None:
        self.names = top_level(files)
        self._source = source
        self._files = files

    def owns(self, module: ModuleType) -> bool:
        """Return whether a module was loaded from the image."""
        places = [module.__file__] if getattr(module, "__file__", None) else [*getattr(module, "__path__", [])]
        return bool(places) and all(Path(str(place)).is_relative_to(self._source) for place in places)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Find a module in the image; return None for other modules. A package's own `__path__` is ignored."""
        *packages, _ = fullname.split(".")
        if (packages or [fullname])[0] not in self.names:
            return None
        finder = FileFinder(
            str(self._source.joinpath(*packages)),
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (self._loader, SOURCE_SUFFIXES),  # type: ignore[arg-type]  # called like a class
        )
        spec = finder.find_spec(fullname)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {fullname!r} in the image", name=fullname)
        return spec

    def _loader(self, fullname: str, path: str) -> SourceFileLoader:
        return _Loader(fullname, path, self._source, self._files)


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: Path, files: Mapping[str, File]) -> None:
        super().__init__(fullname, path)
        self._below = source
        self._files = files

    def get_data(self, path: str) -> bytes:
        """Return a file of the image. Raise `ImageChanged` if it was changed, `OSError` if it is bytecode."""
        inside = Path(path).is_relative_to(self._below)
        wanted = self._files.get(Path(path).relative_to(self._below).as_posix()) if inside else None
        if wanted is None:
            raise FileNotFoundError(f"{path} is not part of the image")
        data = super().get_data(path)
        if fingerprint(data, executable=wanted.executable) != wanted:
            raise ImageChanged(f"{path} was changed since the image was built")
        return data

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Do nothing: no bytecode is written into an image."""
