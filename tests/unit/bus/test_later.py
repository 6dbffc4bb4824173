"""When a job for later is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.client.later import MAX_DELAY, due_at, schedule
from headway.bus.errors import InvalidInput, InvalidSubject
from headway.bus.wire import headers

NOW = 1_800_000_000.25


@given(st.floats(0, MAX_DELAY), st.floats(0, 4e9))
def test_a_delay_is_rounded_up_to_milliseconds_and_never_down(delay, now):
    due = due_at(delay, None, now)
    assert 0 <= due - (now + delay) * 1000 <= 1.001


def test_a_time_counts_in_its_own_zone():
    at = datetime(2027, 1, 31, 8, 0, tzinfo=timezone(timedelta(hours=1)))
    assert due_at(None, at, NOW) == due_at(None, datetime(2027, 1, 31, 7, 0, tzinfo=UTC), NOW) == 1801378800000


def test_a_time_in_the_past_is_due_at_once():
    assert due_at(None, datetime(2020, 1, 1, tzinfo=UTC), NOW) < NOW * 1000


@pytest.mark.parametrize(
    ("delay", "at"),
    [
        (None, None),
        (1.0, datetime(2027, 1, 1, tzinfo=UTC)),
        (-0.1, None),
        (float("nan"), None),
        (float("inf"), None),
        (MAX_DELAY + 1, None),
        (None, datetime(2027, 1, 1)),  # noqa: DTZ001
        (None, datetime(2029, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(delay, at):
    with pytest.raises(InvalidInput):
        due_at(delay, at, NOW)


def test_the_key_of_a_job_for_later_is_its_services_own():
    one, other = (schedule(service, "acme", "send", 5, None) for service in ("fax", "mail"))
    assert one.subject == "later.fax.acme.send"
    assert one.scope != other.scope
    assert headers.at_of(one.fields) is not None


def test_a_job_for_later_cannot_name_another_tenant_by_a_dot():
    with pytest.raises(InvalidSubject):
        schedule("fax", "acme.globex", "send", 5, None)


@pytest.mark.parametrize("value", ["", "-5", "1e9", "٣", "9" * 16])
def test_a_due_time_that_is_no_number_is_none(value):
    assert headers.at_of({headers.AT: value}) is None
