"""Restart intensity, and floors by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headway.control.records import Floor
from headway.scaler.restarts import Death, counts, delay, judge
from headway.scaler.schedule import floor


def test_the_first_death_costs_no_time_and_each_further_one_twice_as_much_up_to_half_a_minute():
    assert [delay(n) for n in (0, 1, 2, 3, 4, 8, 100)] == [0, 0, 0.5, 1, 2, 30, 30]


def deaths(*at: float, lived: float = 0.1) -> list[Death]:
    return [Death(one, lived) for one in at]


def test_five_deaths_in_a_minute_are_a_crash_loop():
    assert judge([], 100).health == "ok"
    assert judge(deaths(99), 100) == ("restarting", 1, 99)
    assert judge(deaths(95, 96, 97, 98), 100).health == "restarting"
    verdict = judge(deaths(95, 96, 97, 98, 99), 100)
    assert (verdict.health, verdict.deaths, verdict.retry_at) == ("crash-loop", 5, 103)


def test_only_those_that_died_soon_after_their_start_have_to_be_waited_for():
    slow = deaths(91, 92, 93, 94, 95, lived=5)
    assert judge(slow, 100) == ("crash-loop", 5, 100)
    assert judge([*slow, *deaths(96)], 100) == ("crash-loop", 6, 96)
    assert judge([*slow, *deaths(96, 97, 99)], 100).retry_at == 100


def test_deaths_are_forgotten_after_a_minute():
    assert judge(deaths(10, 20, 30, 40, 50), 111).health == "ok"


def test_a_worker_that_had_served_for_a_while_is_no_sign_of_a_crash_loop():
    assert counts(9.9)
    assert not counts(10)


OFFICE = Floor(start="0 8 * * mon-fri", end="0 18 * * mon-fri", workers=5, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "hour", "minute", "expected"),
    [
        (24, 6, 59, 0),  # a Tuesday, 07:59 in Berlin
        (24, 7, 0, 5),
        (24, 16, 59, 5),
        (24, 17, 0, 0),
        (28, 9, 0, 0),  # a Saturday
    ],
)
def test_a_floor_holds_from_its_start_to_its_end_in_its_own_time_zone(day, hour, minute, expected):
    assert floor([OFFICE], datetime(2026, 11, day, hour, minute, tzinfo=UTC)) == expected


def test_of_several_floors_the_largest_holds():
    night = Floor(start="0 0 * * *", end="59 23 * * *", workers=2)
    assert floor([OFFICE, night], datetime(2026, 11, 24, 9, tzinfo=UTC)) == 5
    assert floor([OFFICE, night], datetime(2026, 11, 28, 9, tzinfo=UTC)) == 2
    assert floor([], datetime(2026, 11, 24, 9, tzinfo=UTC)) == 0
