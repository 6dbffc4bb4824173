"""The last minutes of each service, as the lines of its charts."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

STEP: Final = 5.0
"""Seconds between two points."""
POINTS: Final = 60
_LATEST: Final = 6
"""Points of the last half minute, and fewest earlier ones that say what is usual."""
LINES: Final = ("rate", "failed", "p95_ms", "waiting")

Line = list[float | None]


class Trends:
    """Keeps the points of each service's charts.

    Args:
        kept: what the previous projector had written, by service.
    """

    def __init__(self, kept: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._lines: dict[str, dict[str, Line]] = {
            service: {name: list(lines.get(name) or ())[-POINTS:] for name in LINES}
            for service, lines in (kept or {}).items()
        }
        self._due = 0.0

    def note(self, now: float, points: Mapping[str, Mapping[str, float | None]]) -> None:
        """Add a point to each line if one is due; drop removed services.

        Args:
            now: on a steady clock.
            points: by service, the value of each line.
        """
        if now < self._due:
            return
        self._due = now + STEP
        before, self._lines = self._lines, {}
        for service, values in points.items():
            lines = before.get(service) or {name: [] for name in LINES}
            self._lines[service] = {name: [*lines[name], values.get(name)][-POINTS:] for name in LINES}

    def usual_failures(self) -> dict[str, float]:
        """Return the share of each service's work that usually fails: the median before the last half minute."""
        found = {}
        for service, lines in self._lines.items():
            earlier = [value for value in lines["failed"][:-_LATEST] if value is not None]
            if len(earlier) >= _LATEST:
                found[service] = median(earlier) / 100
        return found

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the lines by service."""
        return {service: {"step": STEP, **lines} for service, lines in self._lines.items()}
