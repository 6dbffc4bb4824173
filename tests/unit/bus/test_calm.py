"""The slots for backlogs: fewer while turns of the event loop are long and single jobs come, otherwise all of them."""

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.worker.calm import LEAST, PERIOD, PROMPT, QUIET, Calm
from headway.bus.worker.lanes import PullState, plan


def turns(calm, seconds, begin, count, cpu=1.0):
    for n in range(count):
        now = begin + n * PERIOD
        calm.single(now)
        calm.turn(seconds, now, cpu * now)
    return begin + count * PERIOD


def test_a_worker_without_single_jobs_gives_a_backlog_all_slots():
    calm = Calm(64)
    for n in range(100):
        calm.turn(0.1, n * PERIOD, n * PERIOD)
    assert calm.limit == 64


def test_long_turns_lower_the_limit_and_short_ones_raise_it_again():
    calm = Calm(64)
    now = turns(calm, 2 * PROMPT, 0.0, 8)
    lowered = calm.limit
    assert 64 // LEAST <= lowered < 40
    turns(calm, PROMPT / 2, now, 30)
    assert calm.limit == 64


def test_turns_that_are_long_because_of_other_processes_lower_nothing():
    calm = Calm(64)
    turns(calm, 10 * PROMPT, 0.0, 50, cpu=0.3)
    assert calm.limit == 64


def test_when_the_single_jobs_are_over_a_backlog_gets_all_slots_at_once():
    calm = Calm(64)
    now = turns(calm, 2 * PROMPT, 0.0, 50)
    assert calm.limit == 64 // LEAST
    calm.turn(2 * PROMPT, now + QUIET, now + QUIET)
    assert calm.limit == 64


@given(
    st.integers(1, 512),
    st.lists(st.tuples(st.floats(0, 0.1), st.floats(0, 2), st.booleans()), max_size=60),
)
def test_the_limit_is_never_below_one_slot_nor_above_all(concurrency, steps):
    calm, now = Calm(concurrency), 0.0
    for seconds, passed, single in steps:
        now += passed
        if single:
            calm.single(now)
        calm.turn(seconds, now, now)
        assert 1 <= calm.limit <= concurrency


def test_lanes_with_a_backlog_get_no_more_than_the_limit_and_idle_lanes_keep_their_request():
    asked = dict(plan(64, [PullState(pending=1000), PullState(pending=1000), PullState()], limit=16))
    assert asked == {0: 8, 1: 8, 2: 1}
