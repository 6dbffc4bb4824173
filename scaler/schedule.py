"""Floors by the clock: at least so many workers from one cron time to another. Pure.

Cron expressions are read by cronsim, which follows Debian's cron in daylight-saving changes, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from headway.control.records import Floor


def floor(floors: Sequence[Floor], now: datetime) -> int:
    """The largest floor that holds.

    Args:
        floors: of a service.
        now: an aware time.
    """
    return max((one.workers for one in floors if _holds(one, now)), default=0)


def _holds(one: Floor, now: datetime) -> bool:
    """Whether `start` fired after `end` did; a time that is exactly now has fired."""
    local = now.astimezone(ZoneInfo(one.timezone))
    return _last(one.start, local) > _last(one.end, local)


def _last(expression: str, now: datetime) -> datetime:
    if _fires(expression, now):
        return now.replace(second=0, microsecond=0)
    found: datetime = next(CronSim(expression, now, reverse=True))
    return found


def _fires(expression: str, now: datetime) -> bool:
    minute = now.replace(second=0, microsecond=0)
    before: datetime = next(CronSim(expression, minute, reverse=True))
    upcoming: datetime = next(CronSim(expression, before))
    return upcoming == minute
