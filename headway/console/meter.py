"""Recent work of each version, added up from heartbeats."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headway.bus.telemetry.histogram import quantile
from headway.control.counts import Count
from headway.control.fleet import Key

WINDOW: Final = 30.0
"""Length of the window in seconds."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The work done within the window.

    Attributes:
        rate: calls, jobs and events that ended, a second.
        failed: share of them that failed, 0 to 1.
        p95: seconds; None if nothing ended.
    """

    rate: float = 0.0
    failed: float = 0.0
    p95: float | None = None


class Meter:
    """Stores counts for the length of the window."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._counts: dict[Key, deque[tuple[float, Count]]] = {}
        self._began: float | None = None

    def note(self, now: float, key: Key, count: Count) -> None:
        """Record a version's work since the last call.

        Args:
            now: on a steady clock.
            key: service and version.
            count: its work.
        """
        self._began = now if self._began is None else self._began
        kept = self._counts.setdefault(key, deque())
        if count.tries:
            kept.append((now, count))
        while kept and kept[0][0] <= now - self._window:
            kept.popleft()

    def flow(self, now: float, keys: Iterable[Key]) -> Flow:
        """Return the combined work of some versions within the window."""
        counts = [count for key in keys for _, count in self._counts.get(key, ())]
        tries = sum(count.tries for count in counts)
        if not tries or self._began is None:
            return Flow()
        histograms = [histogram for count in counts for histogram in count.latency.values()]
        seen = max(1.0, min(self._window, now - self._began))
        errors = sum(count.errors for count in counts)
        return Flow(tries / seen, errors / tries, quantile([sum(c) for c in zip(*histograms, strict=True)], 0.95))
