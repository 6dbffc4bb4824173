"""What a heartbeat tells of messages that wait to be tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.wire.beat import Waiting


def test_they_are_told_until_they_are_due_and_then_forgotten():
    waiting = Waiting()
    for delay in (2, 2, 5):
        waiting.add(delay, 100.0)
    assert waiting.told(100.0) == [(2, 2), (5, 1)]
    assert waiting.told(102.5) == [(3, 1)]
    assert waiting.told(105.0) == []


@given(st.lists(st.floats(0.1, 5_000), max_size=200), st.floats(0, 6_000))
def test_none_is_told_to_be_due_too_early_and_the_list_stays_short(delays, passed):
    waiting = Waiting()
    for delay in delays:
        waiting.add(delay, 0.0)
    told = waiting.told(passed)
    assert sum(count for _, count in told) >= sum(delay > passed for delay in delays)
    assert len(told) <= 40
    for within in (10, 60, 600):
        assert sum(count for seconds, count in told if seconds <= within) <= sum(
            delay - passed <= within for delay in delays
        )
