"""The moments of a cron expression in a time zone. Pure.

Cron expressions name local times, which cronsim finds. Around clock changes the rules of Debian's cron apply: a fixed
time that occurs twice fires the first time, and one that is skipped fires as soon as the clocks have changed. An
expression whose minute or hour starts with `*` fires whenever local time matches. They are applied here: with a time
zone, cronsim 2.7 leaves times out where clocks change by half an hour.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

MINUTE: Final = timedelta(minutes=1)
_NEARBY: Final = timedelta(hours=26)
"""How far from now a clock change can matter: Samoa once skipped a whole day."""


def offsets(zone: ZoneInfo, at: datetime) -> list[timedelta]:
    """Return the offsets from UTC that may matter for local times around a moment."""
    return [_offset(zone, at + nearby) for nearby in (-_NEARBY, timedelta(), _NEARBY)]


def moments(expression: str, zone: ZoneInfo, time: datetime) -> Iterator[datetime]:
    """Yield the moments at which an expression of five fields fires for one of its local times."""
    minute, hour = expression.split()[:2]
    wildcard = minute.startswith("*") or hour.startswith("*")
    first, second = (time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:  # the usual case, or the time occurs twice
        yield first
        if wildcard and first < second:
            yield second
    elif not wildcard:  # skipped, between `second` and `first`
        yield _change(zone, second, first)


def following(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the moments at which an expression of five fields fires after a moment, in order."""
    after = after.astimezone(UTC)
    start = (after + min(offsets(zone, after))).replace(tzinfo=None, second=0, microsecond=0) - MINUTE
    found: list[datetime] = []
    last = after
    for time in CronSim(expression, start):
        for moment in moments(expression, zone, time):
            heapq.heappush(found, moment)
        as_utc = time.replace(tzinfo=UTC)
        bound = as_utc - max(offsets(zone, as_utc))  # later local times are later moments than this
        while found and found[0] <= bound:
            moment = heapq.heappop(found)
            if moment > last:
                yield moment
                last = moment


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the minute between two moments at which the clocks change."""
    old = _offset(zone, before)
    while after - before > MINUTE:
        middle = (before + (after - before) / 2).replace(second=0, microsecond=0)
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()
