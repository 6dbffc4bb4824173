"""Import a service only from the files of an image, in a separate process, and describe it.

    python -P -m headway.images.probe  <  {"source": ..., "files": {...}, "module": ..., "app": ..., "config": {...}}

Writes one JSON object to standard output; everything that the service prints goes to standard error.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import orjson

from headway.bus.errors import HeadwayError, UsageError
from headway.bus.schemas import schemas
from headway.bus.service import Service
from headway.bus.worker import runner
from headway.images import imports
from headway.images.image import File

FAILED: Final = "failed"
"""Code of errors that are not Headway's."""


def main() -> int:
    """Answer one request."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    ask = orjson.loads(sys.stdin.buffer.read())
    try:
        found = _look(ask)
    except HeadwayError as error:
        found = {"code": error.code, "message": error.message, "remedy": error.remedy}
    except BaseException as error:  # a module can raise anything on import, including SystemExit
        found = {"code": FAILED, "message": _told(error, ask["source"]), "remedy": "fix it and build again"}
    answer.write(orjson.dumps(found))
    answer.close()
    return 0


def _look(ask: dict[str, Any]) -> dict[str, Any]:
    source = Path(ask["source"])
    files = {name: File(**facts) for name, facts in ask["files"].items()}
    os.chdir(source)
    imports.seal(source, files)
    app = ask["app"] or _find(ask["module"])
    service = runner.load(app)
    service.configure(ask["config"])
    ours = imports.top_level(files)
    return {
        "app": app,
        "service": service.name,
        "schemas": schemas(service),
        "loaded": sorted(name for name in sys.modules if name.partition(".")[0] in ours),
    }


def _find(name: str) -> str:
    """Return the only service of a module, or of its submodules if it has none itself."""
    module = importlib.import_module(name)
    found = _services(module)
    if not found:
        for one in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
            if one.name.rpartition(".")[2] != "__main__":
                found.update(_services(importlib.import_module(one.name)))
    if not found:
        raise UsageError(f"there is no Service in {name}", remedy="name it with --app module:variable")
    if len(found) > 1:
        named = ", ".join(sorted(found.values()))
        raise UsageError(
            f"there are several services in {name}: {named}", remedy="choose one with --app module:variable"
        )
    return next(iter(found.values()))


def _services(module: ModuleType) -> dict[int, str]:
    """Return the services of a module by id, each with its first name."""
    found: dict[int, str] = {}
    for variable, value in vars(module).items():
        if isinstance(value, Service):
            found.setdefault(id(value), f"{module.__name__}:{variable}")
    return found


def _told(error: BaseException, source: str) -> str:
    """Return an error's text with its position in the image."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one for one in frames if one.filename.startswith(source)]
    where = f"{Path(lines[-1].filename).relative_to(source)}:{lines[-1].lineno}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
