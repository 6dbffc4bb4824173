"""Scheduled floors: a minimum of workers from one cron time to another. Pure.

`headway.control.cron` has the rules for changes of clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from headway.control import cron
from headway.control.records import Floor

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
    offsets = cron.offsets(zone, now)
    blurred = max(offsets) - min(offsets)
    """The most by which an earlier local time can be a later moment."""
    found = _NEVER
    for time in CronSim(expression, wall + blurred + cron.MINUTE, reverse=True):
        found = max([found, *(at for at in cron.moments(expression, zone, time) if at <= now)])
        if found > _NEVER and time < wall - blurred:
            break
    return found
