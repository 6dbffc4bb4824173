"""Keep the event loop prompt for single jobs while a backlog is worked off. Pure, without I/O.

A worker whose jobs wait for I/O fills its processor with fewer jobs than it has slots. More jobs of a backlog at once
are not done sooner: they only make the turns of the event loop longer, and every other job waits for some turns. So
while there are other jobs and the worker uses a whole processor, the slots for backlogs are lowered until a turn is
short, and raised again when it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PROMPT: Final = 0.002
"""Seconds that a turn of the event loop may take."""
PERIOD: Final = 0.05
"""Seconds between two changes of the limit."""
QUIET: Final = 1.0
"""Seconds without a single job after which backlogs get all slots."""
FULL: Final = 0.8
"""Part of a processor that the worker uses when it is the jobs that make turns long, not other processes."""
LEAST: Final = 4
"""The limit is at least this part of the slots: one of so many."""
_DOWN: Final = 0.9
_UP: Final = 1.1


class Calm:
    """The number of slots that lanes with a backlog may have.

    Args:
        concurrency: slots of the worker.
        cpu: returns the seconds of processor time that the worker has used; called at most once in a `PERIOD`.
    """

    def __init__(self, concurrency: int, cpu: Callable[[], float] = time.process_time) -> None:
        self._clock = cpu
        self._most = float(concurrency)
        self._least = max(1.0, concurrency / LEAST)
        self._limit = self._most
        self._turns = 0.0
        self._count = 0
        self._changed = 0.0
        self._cpu = 0.0
        self._single = -QUIET

    @property
    def limit(self) -> int:
        """Return the slots that lanes with a backlog may have."""
        return int(self._limit)

    def single(self, now: float) -> None:
        """Note a job of a lane without a backlog (monotonic seconds)."""
        self._single = now

    def turn(self, seconds: float, now: float) -> None:
        """Note how long a turn of the event loop took, and change the limit when it is time.

        Args:
            seconds: its duration.
            now: monotonic seconds.
        """
        if now - self._single > QUIET:
            self._limit = self._most
            return
        self._turns += seconds
        self._count += 1
        if now - self._changed < PERIOD:
            return
        cpu = self._clock()
        full = cpu - self._cpu > FULL * (now - self._changed)
        factor = _DOWN if full and self._turns / self._count > PROMPT else _UP
        self._cpu = cpu
        self._limit = min(self._most, max(self._least, self._limit * factor))
        self._turns, self._count, self._changed = 0.0, 0, now
