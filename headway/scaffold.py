"""Makes a new project from the templates in headway/templates/.

A template is a folder of files whose names end in `.tmpl`, so that no tool takes them for its own. `@@name@@`,
`@@module@@` and `@@version@@` are replaced in paths and texts. Templates build on each other: `page` is `service` with
a page, and all have what is in `base`.
"""

from __future__ import annotations

import keyword
import re
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import orjson

from headway.bus.errors import UsageError

TEMPLATES: Final = {"minimal": ("base", "minimal"), "service": ("base", "service"), "page": ("base", "service", "page")}
"""The folders that each template consists of; later ones replace files of earlier ones."""
_SCHEMA: Final = Path(".vscode/headway.schema.json")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_RESERVED: Final = frozenset({"headway", "tests", "page", "orders", "letters", "hello"})


def files(name: str, template: str) -> dict[Path, str]:
    """Return the texts of a project's files, by path.

    Args:
        name: of the project.
        template: one of `TEMPLATES`.

    Raises:
        UsageError: if the name cannot be the name of a package.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module) or module in _RESERVED:
        remedy = "use lower-case letters, digits and hyphens, such as `shop`, and no name that means something already"
        raise UsageError(f"{name!r} cannot be a project's name", remedy=remedy)
    values = {"name": name, "module": module, "version": version("headway")}
    found: dict[Path, str] = {}
    for folder in TEMPLATES[template]:
        for path, text in _texts(resources.files("headway") / "templates" / folder, Path()):
            found[Path(_filled(str(path), values))] = _filled(text, values)
    return found


def write(target: Path, texts: dict[Path, str], schema: dict[str, object] | None) -> None:
    """Write a project into a new or empty folder.

    Args:
        target: the folder.
        texts: as `files` returns them.
        schema: JSON schema of `headway.yaml`, for editors; None if it is not known.

    Raises:
        UsageError: if the folder has something in it.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty", remedy="choose another name, or empty it")
    if schema is not None:
        texts = {**texts, _SCHEMA: orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode() + "\n"}
    for path, text in texts.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _texts(folder: Traversable, path: Path) -> list[tuple[Path, str]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _texts(entry, path / entry.name)
        else:
            found.append((path / entry.name.removesuffix(".tmpl"), entry.read_text(encoding="utf-8")))
    return found


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@@{name}@@", value)
    return text
