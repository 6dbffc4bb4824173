"""Which rows have to be written: those with a visible difference. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headway.console.project import Name

NOISE: Final[Mapping[str, float]] = {"rss_mb": 4.0, "cpu": 4.0, "stored_mb": 4.0}
"""Thresholds below which a change of these values is ignored."""


@dataclass(frozen=True, slots=True)
class Write:
    """A row to write; `value` None deletes it."""

    name: Name
    value: dict[str, Any] | None


def changes(before: Mapping[Name, Mapping[str, Any]], now: Mapping[Name, dict[str, Any]]) -> list[Write]:
    """Return the rows to write, deletions first.

    Args:
        before: the rows as stored.
        now: the rows as they should be.
    """
    gone = [Write(name, None) for name in before if name not in now]
    new = [Write(name, row) for name, row in now.items() if not alike(before.get(name), row)]
    return [*gone, *new]


def alike(a: Any, b: Any, field: str = "") -> bool:
    """Return whether the difference is invisible."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[key], b[key], key) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y, field) for x, y in zip(a, b, strict=True))
    if field in NOISE and isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= NOISE[field]
    return bool(a == b)
