"""When periodic jobs run. Pure.

`headway.control.cron` has the rules for changes of clocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from headway.bus.wire.periodic import PeriodicJob
from headway.control import cron

LATE: Final = 10.0
"""Seconds after its time from which a run counts as missed: several times what another scheduler needs to take over."""
AT_ONCE: Final = 200
"""Most runs that one decision submits; the next one goes on."""
_WINDOWS: Final = (600.0, 90_000.0, 32 * 86_400.0, 370 * 86_400.0)
"""Seconds before a moment in which its last tick is searched, one after the other."""


def following(job: PeriodicJob, after: float) -> Iterator[float]:
    """Yield the times after a moment at which a job runs, in unix seconds."""
    if not job.cron:
        number = math.floor(after / job.every) + 1
        while True:
            yield number * job.every
            number += 1
    for moment in cron.following(job.cron, ZoneInfo(job.tz), datetime.fromtimestamp(after, UTC)):
        if (at := moment.timestamp()) > after:
            yield at


def next_tick(job: PeriodicJob, after: float) -> float | None:
    """Return the first time after a moment at which a job runs; None if there is none."""
    return next(following(job, after), None)


def between(job: PeriodicJob, after: float, until: float) -> Iterator[float]:
    """Yield the times at which a job runs after one moment, up to and including another."""
    for at in following(job, after):
        if at > until:
            return
        yield at


def newest(job: PeriodicJob, after: float, until: float) -> float | None:
    """Return the last time at which a job runs after one moment, up to and including another."""
    for window in _WINDOWS:
        start = max(after, until - window)
        found = None
        for found in between(job, start, until):  # noqa: B007  # the last one is what is wanted
            pass
        if found is not None or start == after:
            return found
    return None


@dataclass(frozen=True, slots=True)
class DueRuns:
    """The runs to submit now.

    Attributes:
        ticks: their times in unix seconds, ascending.
        more: whether there are more, which the next decision finds.
    """

    ticks: tuple[float, ...]
    more: bool = False


def due(job: PeriodicJob, last: float, now: float) -> DueRuns:
    """Return the runs of a job that are due.

    Args:
        job: the job.
        last: time of the last run that was submitted, in unix seconds.
        now: unix seconds.
    """
    missed_until = max(last, now - LATE)
    missed: list[float] = []
    if job.missed == "run-all":
        missed = list(islice(between(job, last, missed_until), AT_ONCE + 1))
    elif job.missed == "run-once":
        one = newest(job, last, missed_until)
        missed = [] if one is None else [one]
    ticks = [*missed, *islice(between(job, missed_until, now), AT_ONCE + 1)]
    if len(missed) > AT_ONCE:
        ticks = missed
    return DueRuns(tuple(ticks[:AT_ONCE]), more=len(ticks) > AT_ONCE)
