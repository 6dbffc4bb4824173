"""The requirements of an image: the distributions that its source imports, and their dependencies."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from headway.images.errors import BuildFailed
from headway.images.source import HEADWAY


def lock(modules: Iterable[str]) -> dict[str, str]:
    """Return the exact versions of the installed distributions that provide these modules, sorted by name.

    Modules that are not installed are left out: they are optional imports, since the import of the service succeeded.

    Raises:
        BuildFailed: if a module belongs to no distribution, or to an editable one whose code can change.
    """
    owners = metadata.packages_distributions()
    wanted = set()
    for module in sorted(modules):
        first = module.partition(".")[0]
        if first == HEADWAY or first in sys.stdlib_module_names or first == "__main__":
            continue
        found = owners.get(first, [])
        if not found and importlib.util.find_spec(first) is not None:
            raise BuildFailed(
                f"{first} is imported from outside the image and belongs to no installed distribution",
                remedy="install it, or move it next to the service",
            )
        wanted |= {canonicalize_name(name) for name in _owning(module, sorted(set(found)))}
    return {name: metadata.version(name) for name in sorted(_closure(wanted))}


def _owning(module: str, candidates: list[str]) -> list[str]:
    """Return those of several distributions with the same top-level package that contain this module."""
    if len(candidates) < 2:
        return candidates
    path = module.replace(".", "/")
    beginnings = (f"{path}/", f"{path}.")
    owning = [
        name
        for name in candidates
        if any(file.as_posix().startswith(beginnings) for file in metadata.files(name) or ())
    ]
    if owning or "." not in module:
        return owning or candidates
    return _owning(module.rpartition(".")[0], candidates)  # `from a.b import c` may name a value


def _closure(names: Iterable[str]) -> set[str]:
    """Return these distributions and all their requirements in this environment."""
    todo = [(name, "") for name in names]
    seen: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen or name == HEADWAY:
            continue
        seen.add((name, extra))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise BuildFailed(f"{name} is required but not installed", remedy=f"pip install {name}") from None
        _refuse_editable(distribution)
        for line in distribution.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(needed.name), one) for one in ("", *needed.extras)]
    return {name for name, _ in seen}


def _refuse_editable(distribution: metadata.Distribution) -> None:
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        raise BuildFailed(
            f"{distribution.name} is installed as editable, so its version does not determine its code",
            remedy="install it without -e, or move it next to the service",
        )
