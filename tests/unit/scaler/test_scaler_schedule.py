"""Floors by the clock over every change of the clocks, compared with walking through the minutes one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headway.control.records import Floor
from headway.scaler.schedule import floor

MINUTE = timedelta(minutes=1)
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # back and forth around Ramadan
    "America/Sao_Paulo",  # at midnight, until 2019
    "Asia/Kolkata",  # never, and half an hour off
]


def at(zone: str, day: str, time: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("time", "fold", "expected"),
    [
        ("02:29", 0, 0),
        ("02:30", 0, 5),
        ("02:59", 0, 5),
        ("02:00", 1, 5),
        ("02:30", 1, 5),
        ("03:59", 0, 5),
        ("04:00", 0, 0),
    ],
)
def test_a_floor_that_begins_in_the_repeated_hour_holds_from_its_first_time_on(time, fold, expected):
    night = Floor(start="30 2 * * *", end="0 4 * * *", workers=5, timezone="Europe/Berlin")
    assert floor([night], at("Europe/Berlin", "2026-10-25", time, fold)) == expected


def test_a_floor_that_begins_in_the_skipped_hour_holds_as_soon_as_the_clocks_have_changed():
    night = Floor(start="30 2 * * *", end="0 4 * * *", workers=5, timezone="Europe/Berlin")
    for time, expected in (("01:59", 0), ("03:00", 5), ("03:59", 5), ("04:00", 0)):
        assert floor([night], at("Europe/Berlin", "2026-03-29", time)) == expected, time


def test_a_floor_within_the_half_hour_that_lord_howe_repeats():
    half = Floor(start="35 1 * * *", end="50 1 * * *", workers=3, timezone="Australia/Lord_Howe")
    for time, fold, expected in (("01:34", 0, 0), ("01:35", 0, 3), ("01:50", 0, 0), ("01:35", 1, 0), ("01:55", 1, 0)):
        assert floor([half], at("Australia/Lord_Howe", "2026-04-05", time, fold)) == expected, (time, fold)


@cache
def changes(zone: str) -> list[datetime]:
    """The changes of the clocks in some years, and one moment without any."""
    found, known = [datetime(2026, 6, 15, 2, tzinfo=UTC)], ZoneInfo(zone)
    for year in (2018, 2026):
        moment = datetime(year, 1, 1, tzinfo=UTC)
        while moment.year == year:
            after = moment + timedelta(minutes=30)
            if moment.astimezone(known).utcoffset() != after.astimezone(known).utcoffset():
                found.append(after)
            moment = after
    return found


def fires(fields: tuple[str, str], wall: datetime) -> bool:
    minute, hour = (field.removeprefix("*/") for field in fields)
    in_minute = wall.minute % int(minute) == 0 if fields[0].startswith("*") else wall.minute == int(minute)
    return in_minute and (hour == "*" or wall.hour == int(hour))


def fired(fields: tuple[str, str], now: datetime, zone: ZoneInfo) -> bool:
    """Whether cron runs something in a minute, by what the wall shows now and showed a minute ago."""
    wall, before = (moment.astimezone(zone).replace(tzinfo=None) for moment in (now, now - MINUTE))
    if "*" in "".join(fields):
        return fires(fields, wall)
    shown = wall - (wall - before) + MINUTE
    skipped = []
    while shown < wall:
        skipped.append(shown)
        shown += MINUTE
    again = now.astimezone(zone).fold == 1
    return (fires(fields, wall) and not again) or any(fires(fields, one) for one in skipped)


times = (
    st.tuples(st.integers(0, 11).map(lambda n: str(5 * n)), st.integers(0, 4).map(str))
    | st.just(("*/20", "*"))
    | st.just(("10", "*"))
)


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])  # each example walks through two days of minutes
@given(st.sampled_from(ZONES), st.data(), times, times)
def test_it_holds_exactly_from_where_start_fires_to_where_end_does(name, data, start, end):
    zone = ZoneInfo(name)
    change = data.draw(st.sampled_from(changes(name)))
    one = Floor(start=f"{start[0]} {start[1]} * * *", end=f"{end[0]} {end[1]} * * *", workers=1, timezone=name)
    now, holds, known = change - timedelta(hours=30), False, set()
    while now < change + timedelta(hours=6):
        for kind, fields in (("start", start), ("end", end)):
            if fired(fields, now, zone):
                holds = kind == "start"
                known.add(kind)
        if len(known) == 2 and change - timedelta(hours=5) < now and now.minute % 5 in {0, 1}:
            assert floor([one], now) == holds, (now.astimezone(zone), start, end)
        now += MINUTE if now.minute % 5 == 0 else 4 * MINUTE  # nothing fires in between
