"""How long a deployer has watched a phase of a rollout, which its deadlines count. Pure except for the given clock.

Time during which the deployer was stopped, the machine was suspended or the rollout was paused says nothing about the
version, so it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headway.control.records import RolloutRecord

GAP: Final = 5.0
"""Seconds between two checks beyond which the rest counts as unwatched."""
NOTED_EVERY: Final = 10.0
"""Seconds after which they are written to the record, for a successor."""


class Watch:
    """Counts the seconds of one service's rollout.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: tuple[object, ...] | None = None
        self._seconds = 0.0
        self._last = 0.0

    def look(self, record: RolloutRecord) -> float:
        """Return for how long the phase has been watched, including now."""
        now, of = self._clock(), _phase(record)
        if of != self._of:
            self._of, self._seconds = of, record.watched
        elif not record.paused:
            self._seconds += min(now - self._last, GAP)
        self._last = now
        return self._seconds

    def noted(self, record: RolloutRecord) -> RolloutRecord:
        """Return the record with the watched seconds, if there are enough to write it again."""
        if _phase(record) != self._of or record.over or self._seconds - record.watched < NOTED_EVERY:
            return record
        return record.model_copy(update={"watched": round(self._seconds, 1)})


def _phase(record: RolloutRecord) -> tuple[object, ...]:
    return record.number, record.phase, record.step, record.since
