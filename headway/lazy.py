"""Public names of a package, loaded when they are first used (PEP 562).

pytest imports `headway.broker` in every project that has Headway installed, and `headway --help` imports all parts:
neither is to wait for what it does not need.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def exports(
    package: str, where: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        where: public names by the module in the package that defines them; those below "" are modules themselves.
    """
    home = {name: module for module, names in where.items() for name in names}

    def load(name: str) -> object:
        """Load a public name on first use."""
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not home[name]:
            return import_module(f"{package}.{name}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return load, names
