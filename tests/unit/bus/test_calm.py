"""The slots for backlogs: fewer while turns of the event loop are long and single jobs come, otherwise all of them."""

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.worker.calm import LEAST, PERIOD, PROMPT, QUIET, Calm
from headway.bus.worker.lanes import PullState, plan


class Clock:
    """Monotonic seconds, and the processor time of a worker that uses a part of a processor."""

    def __init__(self, part=1.0):
        self.now, self.part = 0.0, part

    def cpu(self):
        return self.part * self.now


def turns(calm, clock, seconds, count):
    for _ in range(count):
        calm.single(clock.now)
        calm.turn(seconds, clock.now)
        clock.now += PERIOD


def test_a_worker_without_single_jobs_gives_a_backlog_all_slots():
    calm = Calm(64, lambda: 0.0)
    for n in range(100):
        calm.turn(0.1, n * PERIOD)
    assert calm.limit == 64


def test_long_turns_lower_the_limit_and_short_ones_raise_it_again():
    clock = Clock()
    calm = Calm(64, clock.cpu)
    turns(calm, clock, 2 * PROMPT, 8)
    assert 64 // LEAST <= calm.limit < 40
    turns(calm, clock, PROMPT / 2, 30)
    assert calm.limit == 64


def test_turns_that_are_long_because_of_other_processes_lower_nothing():
    clock = Clock(0.3)
    calm = Calm(64, clock.cpu)
    turns(calm, clock, 10 * PROMPT, 50)
    assert calm.limit == 64


def test_when_the_single_jobs_are_over_a_backlog_gets_all_slots_at_once():
    clock = Clock()
    calm = Calm(64, clock.cpu)
    turns(calm, clock, 2 * PROMPT, 50)
    assert calm.limit == 64 // LEAST
    calm.turn(2 * PROMPT, clock.now + QUIET)
    assert calm.limit == 64


@given(
    st.integers(1, 512),
    st.lists(st.tuples(st.floats(0, 0.1), st.floats(0, 2), st.booleans()), max_size=60),
)
def test_the_limit_is_never_below_one_slot_nor_above_all(concurrency, steps):
    clock = Clock()
    calm = Calm(concurrency, clock.cpu)
    for seconds, passed, single in steps:
        clock.now += passed
        if single:
            calm.single(clock.now)
        calm.turn(seconds, clock.now)
        assert 1 <= calm.limit <= concurrency


def test_lanes_with_a_backlog_get_no_more_than_the_limit_and_idle_lanes_keep_their_request():
    asked = dict(plan(64, [PullState(pending=1000), PullState(pending=1000), PullState()], limit=16))
    assert asked == {0: 8, 1: 8, 2: 1}
