"""The differences between two images; a pure function of their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from headway.deployer import contract
from headway.images.image import Manifest

Changes = dict[str, tuple[Any, Any]]
"""By name: the old and the new value; None where it is missing."""


class Difference(BaseModel):
    """The changes from one image to the other.

    Attributes:
        files: by path, their SHA-256.
        config: by key.
        requirements: versions by distribution.
        program: `app`, `python` and `headway`.
        handlers: by name, "added", "removed" or "changed".
        breaking: what would break for clients of the old one (deployer/contract.py).
    """

    files: Changes
    config: Changes
    requirements: Changes
    program: Changes
    handlers: dict[str, str]
    breaking: list[str]

    @property
    def nothing(self) -> bool:
        """Return whether both behave the same."""
        return not (self.files or self.config or self.requirements or self.program)


def diff(old: Manifest, new: Manifest) -> Difference:
    """Compare two images."""
    handlers = _changes(old.schemas, new.schemas)
    return Difference(
        files=_changes(
            {name: _kept(file.sha256, executable=file.executable) for name, file in old.files.items()},
            {name: _kept(file.sha256, executable=file.executable) for name, file in new.files.items()},
        ),
        config=_changes(old.config, new.config),
        requirements=_changes(old.requirements, new.requirements),
        program=_changes(
            {"app": old.app, "python": old.python, "headway": old.headway},
            {"app": new.app, "python": new.python, "headway": new.headway},
        ),
        handlers={
            name: "added" if was is None else "removed" if now is None else "changed"
            for name, (was, now) in handlers.items()
        },
        breaking=contract.violations(old.schemas, new.schemas),
    )


def _kept(sha256: str, *, executable: bool) -> str:
    return f"{sha256} executable" if executable else sha256


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    names = sorted(old.keys() | new.keys())
    return {
        name: (old.get(name), new.get(name))
        for name in names
        if (name in old, old.get(name)) != (name in new, new.get(name))
    }
