"""When `headway submit` has a job run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headway.bus.errors import UsageError
from headway.commands.submit import due


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("50ms", 0.05), ("5m", 300), ("2 h", 7200), ("3d", 259_200)]
)
def test_a_delay_is_a_duration(text, seconds):
    assert due(text, None) == {"delay": seconds}


def test_a_time_has_a_zone():
    assert (
        due(None, "2027-01-31T08:00+01:00")
        == due(None, "2027-01-31T07:00Z")
        == {"at": datetime(2027, 1, 31, 7, tzinfo=UTC)}
    )


def test_without_either_a_job_is_submitted_at_once():
    assert due(None, None) == {}


@pytest.mark.parametrize(
    ("delay", "at"),
    [
        ("soon", None),
        ("-5s", None),
        ("5y", None),
        ("", None),
        (None, "tomorrow"),
        (None, "2027-01-31T08:00"),
        ("5s", "2027-01-31"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(delay, at):
    with pytest.raises(UsageError) as refused:
        due(delay, at)
    assert refused.value.remedy
