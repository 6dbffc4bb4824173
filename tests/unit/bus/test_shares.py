"""Lanes get their shares of time, whatever their jobs take."""

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.bus.worker.lanes import PullState, plan
from headway.bus.worker.shares import MOST, Shares

ROUND_TRIP = 0.002


def simulate(durations, weights, seconds, concurrency=16):
    """Slot seconds that each lane got, from a worker whose lanes all have work all the time."""
    lanes = [PullState(pending=10**6, weight=weight) for weight in weights]
    shares, events, number, got, now, cursor = Shares(lanes), [], 0, [0.0] * len(lanes), 0.0, 0
    while now < seconds:
        shares.note(now)
        for i, batch in plan(concurrency, lanes, cursor):
            lanes[i].outstanding += batch
            cursor = i + 1
            for _ in range(batch):
                heapq.heappush(events, (now + ROUND_TRIP, number := number + 1, "arrives", i))
        now, _, what, i = heapq.heappop(events)
        if what == "arrives":
            lanes[i].outstanding -= 1
            lanes[i].in_hand += 1
            heapq.heappush(events, (now + durations[i], number := number + 1, "ends", i))
        else:
            lanes[i].in_hand -= 1
            got[i] += durations[i]
    return got


def jain(values):
    return sum(values) ** 2 / len(values) / sum(value**2 for value in values)


def test_a_lane_of_short_jobs_gets_as_much_time_as_one_of_long_jobs():
    short, long = simulate([0.005, 0.1], [1, 1], 10)
    assert jain([short, long]) > 0.99
    assert abs(short - long) / (short + long) < 0.05


def test_shares_follow_the_weights():
    got = simulate([0.005, 0.02, 0.05], [1, 2, 1], 20, concurrency=32)
    shares = [value / sum(got) for value in got]
    assert max(abs(share - wanted) for share, wanted in zip(shares, [0.25, 0.5, 0.25], strict=True)) < 0.05


def test_a_lane_that_is_alone_gets_everything():
    [alone] = simulate([0.01], [1], 4)
    assert alone > 0.75 * 16 * 4


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 99), st.sampled_from([0.5, 1.0, 8.0]), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.floats(0.001, 0.5), min_size=1, max_size=30),
)
def test_a_correction_is_bounded_and_only_for_lanes_that_compete(states, steps):
    lanes = [PullState(in_hand=h, pending=p, weight=w, sidelining=s) for h, p, w, s in states]
    shares, now = Shares(lanes), 0.0
    for step in steps:
        now += step
        shares.note(now)
        for lane in lanes:
            assert 1 / MOST <= lane.factor <= MOST
            assert lane.factor == 1.0 or (lane.pending and not lane.sidelining)
