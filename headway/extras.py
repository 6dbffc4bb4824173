"""Optional dependencies: the extras that each command needs, and the command that installs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Final

from headway.bus.errors import UsageError

MODULES: Final = {
    "charts": ("matplotlib",),
    "control": ("cronsim", "cryptography", "httpx", "packaging", "rich", "scipy", "watchfiles", "yaml"),
    "docker": ("aiodocker",),
    "services": ("numpy", "PIL"),
    "telemetry": ("opentelemetry.sdk",),
    "web": ("httpx", "jwt", "starlette", "uvicorn"),
}
"""Import names of the packages in each extra."""
_BASE: Final = frozenset({"call", "completion", "dead", "docs", "emit", "env", "new", "submit", "worker"})
"""Commands that the base install supports; all others need the control plane."""
_ALSO: Final = {
    ("demo", ""): "services",
    ("web", ""): "web",
    ("up", "--console"): "web",
    ("scaler", "docker"): "docker",
    ("scaler", "--driver=docker"): "docker",
    ("image", "--docker"): "docker",
    ("scale", "--picture"): "charts",
}
"""Further extras by command and a word of its command line; "" matches any."""


class MissingExtra(UsageError):
    """An optional dependency is not installed."""

    code = "missing_extra"


def needed(words: Sequence[str]) -> set[str]:
    """Return the extras that a command line needs, given without the program's name."""
    command = next((word for word in words if not word.startswith("-")), "")
    found = {extra for (of, word), extra in _ALSO.items() if of == command and word in {"", *words}}
    return found if command in _BASE else found | {"control"}


def missing(module: str, words: Sequence[str]) -> MissingExtra | None:
    """Return the error for a module that cannot be imported; None if no extra contains it.

    Args:
        module: its name, as `ModuleNotFoundError` has it.
        words: the command line without the program's name.
    """
    top = module.split(".", maxsplit=1)[0]
    extras = needed(words)
    bringing = [extra for extra, modules in MODULES.items() if top in {one.split(".")[0] for one in modules}]
    if not bringing:
        return None
    if not extras.intersection(bringing):
        extras.add(bringing[0])
    return MissingExtra(f"this needs {module}, which is not installed", remedy=install(extras))


def check(*extras: str) -> None:
    """Check that extras are installed, before anything is started.

    Raises:
        MissingExtra: if one is not. The remedy installs them and the control plane.
    """
    for extra in extras:
        for module in MODULES[extra]:
            if importlib.util.find_spec(module) is None:
                raise MissingExtra(f"this needs {module}, which is not installed", remedy=install({"control", *extras}))


def install(extras: set[str]) -> str:
    """Return the command that installs extras."""
    return f"pip install 'headway[{','.join(sorted(extras))}]'"
