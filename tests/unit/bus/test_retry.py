"""Retry policies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import DeclarationError
from headway.bus.retry import MAX_DELAY, Retry

waits = st.lists(st.floats(0, MAX_DELAY), min_size=1, max_size=6).map(tuple)


@given(st.integers(1, 20), waits, st.floats(0, 0.99), st.integers(1, 40))
def test_a_wait_is_the_declared_one_within_its_jitter(attempts, backoff, jitter, failed):
    retry = Retry(attempts=attempts, backoff=backoff, jitter=jitter)
    base = backoff[min(failed, len(backoff)) - 1]
    assert base * (1 - jitter) - 1e-6 <= retry.delay(failed) <= base * (1 + jitter) + 1e-6


@given(st.integers(1, 20))
def test_attempts_are_exhausted_exactly_at_their_number(attempts):
    retry = Retry(attempts=attempts)
    assert not retry.exhausted(attempts - 1)
    assert retry.exhausted(attempts)


def test_the_last_wait_repeats():
    retry = Retry(backoff=(1, 5), jitter=0)
    assert [retry.delay(n) for n in (1, 2, 3, 9)] == [1, 5, 5, 5]


def test_jitter_shortens_and_lengthens_a_wait_by_its_share():
    retry = Retry(backoff=(10,), jitter=0.2)
    assert retry.delay(1, uniform=lambda low, _high: low) == pytest.approx(8)
    assert retry.delay(1, uniform=lambda _low, high: high) == pytest.approx(12)


def test_the_longest_wait_is_allowed():
    assert Retry(backoff=(0, MAX_DELAY), jitter=0).delay(2) == MAX_DELAY


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"backoff": ()},
        {"attempts": 2, "backoff": ()},
        {"backoff": (-1,)},
        {"backoff": (MAX_DELAY + 1,)},
        {"backoff": (float("nan"),)},
        {"jitter": 1},
        {"jitter": -0.1},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(DeclarationError):
        Retry(**wrong)


def test_a_single_attempt_needs_no_wait():
    assert Retry(attempts=1, backoff=()).exhausted(1)
