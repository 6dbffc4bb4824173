"""Scheduled floors: a minimum of workers from one cron time to another. Pure.

Cron expressions name local times, which cronsim finds. Around clock changes the rules of Debian's cron apply: a fixed
time that occurs twice fires the first time, and one that is skipped fires as soon as the clocks have changed. An
expression whose minute or hour starts with `*` fires whenever local time matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from headway.control.records import Floor

_MINUTE: Final = timedelta(minutes=1)
_NEARBY: Final = timedelta(hours=26)
"""How far from now a clock change can matter: Samoa once skipped a whole day."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def floor(floors: Sequence[Floor], now: datetime) -> int:
    """Return the largest floor in effect.

    Args:
        floors: the floors of a service.
        now: an aware time.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    return max((one.workers for one in floors if _holds(one.start, one.end, one.timezone, minute)), default=0)


@lru_cache(maxsize=1024)
def _holds(start: str, end: str, timezone: str, now: datetime) -> bool:
    """Return whether `start` fired after `end` did, including the present minute."""
    zone = ZoneInfo(timezone)
    return _last(start, zone, now) > _last(end, zone, now)


def _last(expression: str, zone: ZoneInfo, now: datetime) -> datetime:
    """Return the last moment up to `now` at which an expression fired."""
    wall = now.astimezone(zone).replace(tzinfo=None)
    offsets = [_offset(zone, now + nearby) for nearby in (-_NEARBY, timedelta(), _NEARBY)]
    blurred = max(offsets) - min(offsets)
    """The most by which an earlier local time can be a later moment."""
    found = _NEVER
    for time in CronSim(expression, wall + blurred + _MINUTE, reverse=True):
        found = max([found, *(at for at in _moments(expression, zone, time) if at <= now)])
        if found > _NEVER and time < wall - blurred:
            break
    return found


def _moments(expression: str, zone: ZoneInfo, time: datetime) -> Iterator[datetime]:
    """Yield the moments at which an expression fires for one of its local times."""
    minute, hour = expression.split()[:2]
    wildcard = minute.startswith("*") or hour.startswith("*")
    first, second = (time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:  # the usual case, or the time occurs twice
        yield first
        if wildcard:
            yield second
    elif not wildcard:  # skipped, between `second` and `first`
        yield _change(zone, second, first)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the minute between two moments at which the clocks change."""
    old = _offset(zone, before)
    while after - before > _MINUTE:
        middle = (before + (after - before) / 2).replace(second=0, microsecond=0)
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()
