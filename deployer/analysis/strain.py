"""A canary's use of its workers: lateness of event loops, share of a core, memory. Pure.

These are not counts of requests, so there is no statistical test: only obvious differences stop a release.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from headway.deployer.evidence import LAGS, Count, Slice

LATE: Final = 0.25
"""Median lateness in seconds of a saturated event loop."""
BUSY: Final = 0.9
"""Share of a core that a saturated worker uses."""
SEEN: Final = 10.0
"""Seconds of worker life after which CPU time is meaningful."""
_FEW: Final = 3
"""Heartbeats needed for a median."""
_EVERY: Final = 5
"""Slices between two memory samples."""
_GREW: Final = 3
"""Consecutive samples in which memory must have grown, by `_LEAST` each time."""
_LEAST: Final = 1.01
LARGER: Final = 1.5
ROOM: Final = 32e6
"""Memory above this factor of the baseline's, plus so many bytes, is too much if it keeps growing."""


class LoopLag(NamedTuple):
    """Medians of how late event loops ran, in seconds."""

    canary: float
    baseline: float


class Busy(NamedTuple):
    """Shares of a core that were used."""

    canary: float
    baseline: float


class Grown(NamedTuple):
    """Resident bytes of a worker: the canary's first and latest sample, and the baseline's."""

    first: float
    canary: float
    baseline: float


class Strain:
    """Observations since the step began; memory, since the rollout began."""

    __slots__ = ("_canary", "_looks", "_slices", "_theirs", "baseline_memory")

    def __init__(self) -> None:
        self._canary, self._theirs = _Load(), _Load()
        self._looks: list[float] = []
        self._slices = 0
        self.baseline_memory = 0.0

    def begin(self) -> None:
        """Start a step."""
        self._canary, self._theirs = _Load(), _Load()

    def add(self, part: Slice) -> None:
        """Add the observations of a period."""
        self._canary.add(part.canary)
        self._theirs.add(part.baseline)
        self.baseline_memory = part.baseline.memory or self.baseline_memory
        self._slices += 1
        if part.canary.memory and self._slices % _EVERY == 0:
            self._looks = [*self._looks[:1], *self._looks[1:][-_GREW:], part.canary.memory]

    def saturated(self) -> LoopLag | Busy | None:
        """Return evidence that the canary has no capacity left where the baseline has; None without any."""
        ours, theirs = self._canary, self._theirs
        if len(ours.lags) >= _FEW and theirs.lags:
            lag = LoopLag(median(ours.lags), median(theirs.lags))
            if lag.canary >= LATE and lag.canary > 4 * lag.baseline:
                return lag
        if min(ours.seconds, theirs.seconds) >= SEEN:
            busy = Busy(ours.cpu_s / ours.seconds, theirs.cpu_s / theirs.seconds)
            if busy.canary >= BUSY and busy.canary > 1.5 * busy.baseline:
                return busy
        return None

    def leaking(self) -> Grown | None:
        """Return how the canary's memory grew, if it is too large and still grows."""
        looks, other = self._looks, self.baseline_memory
        if len(looks) <= _GREW or not other:
            return None
        last = looks[-_GREW - 1 :]
        growing = all(b >= a * _LEAST for a, b in pairwise(last))
        large = looks[-1] >= other * LARGER + ROOM and looks[-1] >= looks[0] + ROOM
        return Grown(looks[0], looks[-1], other) if growing and large else None


class _Load:
    __slots__ = ("cpu_s", "lags", "seconds")

    def __init__(self) -> None:
        self.cpu_s = self.seconds = 0.0
        self.lags: list[float] = []

    def add(self, count: Count) -> None:
        self.cpu_s += count.cpu_s
        self.seconds += count.seconds
        self.lags += count.lags
        if len(self.lags) > LAGS:
            self.lags = self.lags[:: -(-len(self.lags) // LAGS)]
