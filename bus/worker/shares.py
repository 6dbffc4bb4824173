"""Keep the shares of lanes by handler seconds. Pure, without I/O.

A lane that gets its share of slots does not get its share of time by that: after a short job a slot is empty until the
next message comes, after a long one as well, but more rarely. So the slot seconds that each lane uses are measured, and
the share of a lane that has used less than it should is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headway.bus.worker.lanes import PullState

PERIOD: Final = 0.2
"""Seconds over which the use of slots is measured before shares are corrected."""
MOST: Final = 4.0
"""Maximum factor by which a share is raised or lowered."""


class Shares:
    """Corrects the shares of lanes that compete for slots.

    Args:
        lanes: the state of each lane; `factor` is changed.
    """

    def __init__(self, lanes: Sequence[PullState]) -> None:
        self._lanes = lanes
        self._at = 0.0
        self._since = 0.0
        self._in_hand = [0] * len(lanes)
        self._used = [0.0] * len(lanes)
        self._competing = [False] * len(lanes)

    def note(self, now: float) -> None:
        """Measure. Call it whenever messages have arrived or finished.

        Args:
            now: monotonic seconds.
        """
        passed, self._at = now - self._at, now
        before, self._in_hand = self._in_hand, [lane.in_hand for lane in self._lanes]
        if passed > PERIOD:  # idle meanwhile: what was measured says nothing any more
            self._begin(now)
            return
        for i, lane in enumerate(self._lanes):
            self._used[i] += before[i] * passed
            if not lane.pending:
                self._competing[i] = False
        if now - self._since >= PERIOD:
            self._correct()
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._used = [0.0] * len(self._lanes)
        self._competing = [lane.pending > 0 and not lane.sidelining for lane in self._lanes]

    def _correct(self) -> None:
        """Raise the factor of lanes that had work all the time and used less than their share, and lower others'."""
        competing = [i for i, had_work in enumerate(self._competing) if had_work]
        used = sum(self._used[i] for i in competing)
        weight = sum(self._lanes[i].weight for i in competing)
        for i, lane in enumerate(self._lanes):
            if i not in competing or len(competing) < 2 or not used:
                lane.factor = 1.0
                continue
            due = used * lane.weight / weight
            ratio = due / self._used[i] if self._used[i] else MOST
            lane.factor = min(MOST, max(1 / MOST, lane.factor * ratio**0.5))
