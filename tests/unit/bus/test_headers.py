"""Headers: time limits, clean text, sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.wire import headers


@given(st.floats(0, 4e9))
def test_a_time_limit_travels_to_the_millisecond(seconds):
    found = headers.timeout_of({headers.TIMEOUT: headers.timeout_value(seconds)})
    assert found is not None
    assert seconds - 0.0011 <= found <= seconds + 1e-6


def test_a_time_limit_that_is_over_travels_as_none_left():
    assert headers.timeout_value(-3) == "0"


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "\uff19", "1" * 16, "1e3"])
def test_a_time_limit_that_is_no_number_is_none(value):
    assert headers.timeout_of({headers.TIMEOUT: value}) is None


def test_no_headers_is_no_time_limit():
    assert headers.timeout_of(None) is None
    assert headers.timeout_of({}) is None


@given(st.text())
def test_cleaned_text_is_one_printable_line_of_bounded_length(text):
    clean = headers.clean(text)
    assert "\n" not in clean
    assert "\r" not in clean
    assert all(char.isprintable() for char in clean)
    assert len(clean) <= 1024
