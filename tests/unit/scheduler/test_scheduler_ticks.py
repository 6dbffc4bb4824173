"""When periodic jobs run: over time zones and all changes of clocks of a year, and after an outage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.wire.periodic import PeriodicJob
from headway.scheduler.ticks import AT_ONCE, LATE, between, due, following, newest, next_tick

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def cron(expression: str, tz: str = "UTC", **more) -> PeriodicJob:
    return PeriodicJob(name="x", cron=expression, tz=tz, **more)


def every(seconds: float, **more) -> PeriodicJob:
    return PeriodicJob(name="x", every=seconds, **more)


def test_a_nightly_job_that_is_skipped_by_the_clocks_runs_once_when_they_have_changed():
    # On 29 March 2026, 02:00 becomes 03:00 in Berlin.
    ticks = list(between(cron("30 2 * * *", "Europe/Berlin"), unix("2026-03-28T12:00Z"), unix("2026-03-30T12:00Z")))
    assert ticks == [unix("2026-03-29T01:00Z"), unix("2026-03-30T00:30Z")]


def test_a_nightly_job_at_a_time_that_occurs_twice_runs_the_first_time():
    # On 25 October 2026, 03:00 becomes 02:00 again in Berlin.
    ticks = list(between(cron("30 2 * * *", "Europe/Berlin"), unix("2026-10-24T12:00Z"), unix("2026-10-26T12:00Z")))
    assert ticks == [unix("2026-10-25T00:30Z"), unix("2026-10-26T01:30Z")]


@pytest.mark.parametrize("zone", ZONES)
def test_over_a_year_with_all_changes_of_clocks_a_daily_job_runs_once_on_each_day(zone):
    start = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    end = datetime(2027, 1, 1, tzinfo=ZoneInfo(zone))
    ticks = list(between(cron("30 2 * * *", zone), start.timestamp(), end.timestamp()))
    days = [datetime.fromtimestamp(at, ZoneInfo(zone)).date() for at in ticks]
    assert days == [start.date() + timedelta(days=n) for n in range(365)]


@pytest.mark.parametrize("zone", ZONES)
def test_over_a_year_with_all_changes_of_clocks_a_job_every_six_hours_leaves_none_out(zone):
    start, end = unix("2026-01-01T00:00Z"), unix("2027-01-01T00:00Z")
    ticks = list(between(cron("0 */6 * * *", zone), start, end))
    gaps = {b - a for a, b in pairwise(ticks)}
    assert gaps <= {n * 1800.0 for n in (10, 11, 12, 13, 14)}, "another distance only where clocks change by that"
    assert 1459 <= len(ticks) <= 1461


def test_an_interval_counts_from_the_epoch_and_not_from_a_start():
    assert list(islice(following(every(90), 100), 3)) == [180, 270, 360]
    assert next_tick(every(90), 180) == 270


@given(
    job=st.one_of(
        st.builds(every, st.floats(1, 1e5)),
        st.builds(
            cron,
            st.sampled_from(["*/17 * * * *", "0 3 * * *", "30 2 * * mon-fri", "0 0 1 * *"]),
            st.sampled_from(ZONES),
        ),
    ),
    start=st.integers(1_780_000_000, 1_810_000_000),
    cuts=st.lists(st.floats(0, 2 * 86_400), max_size=4),
)
def test_cutting_time_into_pieces_anywhere_gives_each_tick_once(job, start, cuts):
    end = start + (2 * 86_400 if job.cron else 50 * job.every)
    moments = [start, *sorted(start + cut for cut in cuts if start + cut < end), end]
    whole = list(between(job, start, end))
    parts = [list(between(job, a, b)) for a, b in pairwise(moments)]
    assert [at for part in parts for at in part] == whole
    assert whole == sorted(set(whole))
    assert newest(job, start, end) == (whole[-1] if whole else None)


def test_without_an_outage_each_run_is_due_once_whatever_the_policy():
    for missed in ("skip", "run-once", "run-all"):
        job, last, ran = every(1, missed=missed), 1000.0, []
        for now in (1000.4, 1001.0, 1001.9, 1004.2, 1004.3):
            found = due(job, last, now)
            ran += found.ticks
            last = ran[-1] if ran else last
        assert ran == [1001.0, 1002.0, 1003.0, 1004.0]


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("run-once", 1), ("run-all", 59)])
def test_after_an_outage_the_policy_says_which_missed_runs_are_made_up_for(missed, count):
    job = cron("* * * * *", missed=missed)
    last, now = unix("2026-05-01T03:00Z"), unix("2026-05-01T04:00:05Z")
    found = due(job, last, now)
    assert found.ticks[-1] == unix("2026-05-01T04:00Z"), "this one is not missed"
    assert len(found.ticks) - 1 == count
    assert not found.more


def test_a_long_outage_is_made_up_for_in_pieces():
    job = every(1, missed="run-all")
    last, now, ran = 1000.0, 2000.5, []
    while True:
        found = due(job, last, now)
        assert len(found.ticks) <= AT_ONCE
        ran += found.ticks
        last = ran[-1]
        if not found.more:
            break
    assert ran == [1000.0 + n for n in range(1, 1001)]


def test_the_newest_run_of_a_year_ago_is_found_without_walking_through_all_of_it():
    job = cron("0 0 1 1 *")
    assert newest(job, unix("2020-06-01T00:00Z"), unix("2026-06-01T00:00Z")) == unix("2026-01-01T00:00Z")
    busy = cron("* * * * *")
    assert newest(busy, unix("1990-01-01T00:00Z"), unix("2026-06-01T00:00:30Z")) == unix("2026-06-01T00:00Z")


def test_a_clock_that_is_set_back_runs_nothing_again():
    now = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    assert due(every(1), now, now - 3600).ticks == ()
    assert due(every(1, missed="run-all"), now, now - LATE - 1).ticks == ()
