"""Headers: deadlines, clean text, sizes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.wire import headers


@given(st.floats(0, 4e9))
def test_a_deadline_travels_to_the_millisecond(deadline):
    found = headers.deadline_of({headers.DEADLINE: headers.deadline_value(deadline)})
    assert found is not None
    assert deadline - 0.0011 <= found <= deadline + 1e-6


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "\uff19", "1" * 16, "1e3"])
def test_a_deadline_that_is_no_number_is_none(value):
    assert headers.deadline_of({headers.DEADLINE: value}) is None


def test_no_headers_is_no_deadline():
    assert headers.deadline_of(None) is None
    assert headers.deadline_of({}) is None


def test_remaining_time_is_never_negative():
    assert headers.remaining(None) is None
    assert headers.remaining(time.time() - 10) == 0
    assert 0 < headers.remaining(time.time() + 10) <= 10


@given(st.text())
def test_cleaned_text_is_one_printable_line_of_bounded_length(text):
    clean = headers.clean(text)
    assert "\n" not in clean
    assert "\r" not in clean
    assert all(char.isprintable() for char in clean)
    assert len(clean) <= 1024
