"""decide(), at the values where it begins to decide something else, and what it says and remembers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from headway.control.records import Lag, Scale
from headway.scaler.decide import NEW, Decision, decide
from headway.scaler.observation import Observation

SCALE = Scale(cpu=None, inflight=None, max=50, down_after=10, lag=Lag(drain_within="10s"))
BUSY = Observation(at=0, workers=2, pending=1000, arrivals=100, finished=20, service_s=1.0, slots=10, in_hand=20)
IDLE = replace(BUSY, pending=0, arrivals=0, finished=0, in_hand=0)
UNKNOWN = replace(IDLE, pending=None)


def scaled(**changed) -> Scale:
    return SCALE.model_copy(update=changed)


def run(scale: Scale, *observations: Observation, **options) -> Decision:
    """The decision after several observations."""
    history, decision = NEW, None
    for seen in observations:
        decision = decide(scale, seen, history, **options)
        history = decision.history
    assert decision is not None
    return decision


def test_the_first_decision_goes_by_how_many_there_are_supposed_to_be():
    assert run(SCALE, UNKNOWN, current=5).desired == 5
    assert run(SCALE, UNKNOWN).desired == 2


def test_a_step_bounds_the_first_addition_to_the_minimum_too_but_not_the_way_up_to_it():
    decision = run(scaled(min=2, step=3), BUSY)
    assert decision.desired == 5
    assert decision.reason.endswith("held at 5 by steps of 3")
    assert run(scaled(min=9, step=3), BUSY).desired == 27


def test_the_reason_for_more_is_the_policys():
    reason = run(SCALE, BUSY).reason
    assert reason.startswith("lag: 1,000 queued")
    assert "held" not in reason


def test_nothing_to_do_is_said_as_such():
    assert run(scaled(min=2), IDLE).reason == "no change"
    assert run(scaled(min=2), IDLE, replace(IDLE, at=100)).reason == "no change"


def test_what_is_enough_is_decided_once_it_was_for_the_whole_window_to_the_second():
    assert run(SCALE, BUSY, replace(IDLE, at=9.9, workers=27)).desired == 27
    decision = run(SCALE, BUSY, replace(IDLE, at=10, workers=27))
    # A little still arrives, by the smoothed rate: 100/s of two seconds' weight, ten seconds ago.
    assert decision.desired == 1
    assert decision.reason.startswith("at most 1 needed for 10 s; ")


def test_one_idle_look_stops_nobody_whenever_the_first_was():
    assert run(SCALE, replace(IDLE, workers=7)).desired == 7
    late = replace(IDLE, workers=7, at=100)
    assert run(SCALE, late, replace(late, at=105)).desired == 7
    assert run(SCALE, late, replace(late, at=110)).desired == 1


def test_a_time_in_which_nothing_was_known_counts_as_one_in_which_all_were_needed():
    seen = (BUSY, replace(UNKNOWN, at=25, workers=27), replace(IDLE, at=30, workers=27))
    assert run(SCALE, *seen).desired == 27
    assert run(SCALE, *seen, replace(IDLE, at=36, workers=27)).desired == 1


def test_nothing_to_do_needs_nobody():
    assert run(scaled(min=0), replace(IDLE, workers=1), replace(IDLE, at=100, workers=1)).desired == 0


def test_more_than_the_maximum_goes_down_to_it_at_once():
    decision = run(scaled(max=5), replace(IDLE, workers=9))
    assert (decision.desired, decision.reason) == (5, "the maximum is 5")


@pytest.mark.parametrize(
    ("seen", "options", "desired", "reason"),
    [
        (IDLE, {"calls": True}, 1, "it serves calls, so it cannot scale to zero"),
        (IDLE, {"floor": 3}, 3, "the schedule asks for 3"),
        (IDLE, {"minimum": 4}, 4, "the version's minimum is 4"),
        (replace(IDLE, in_hand=1), {}, 1, None),
        (replace(IDLE, ack_pending=1), {}, 1, None),
        (replace(IDLE, pending=1), {}, 1, None),
        (replace(IDLE, pending=None), {}, 0, None),
        (replace(IDLE, ack_pending=None), {}, 1, "work is queued"),
        (IDLE, {}, 0, "no change"),
    ],
)
def test_what_wakes_a_service_from_zero(seen, options, desired, reason):
    decision = run(scaled(min=0), replace(seen, workers=0), **options)
    assert decision.desired == desired
    assert reason is None or decision.reason == reason


def test_without_a_policy_of_lag_work_wakes_nobody():
    assert run(Scale(min=0, lag=None, cpu=None, inflight=None), replace(BUSY, workers=0)).desired == 0


def test_the_smoothed_rate_follows_by_a_fifth_of_the_time_a_backlog_may_take():
    history = run(SCALE, BUSY, replace(BUSY, at=2, arrivals=50)).history
    assert history.arrivals == pytest.approx(50 + 50 * math.exp(-1))
    slower = run(scaled(lag=Lag(drain_within="20s")), BUSY, replace(BUSY, at=2, arrivals=50)).history
    assert slower.arrivals == pytest.approx(50 + 50 * math.exp(-0.5))


def test_an_unknown_rate_leaves_the_last_one():
    assert run(SCALE, BUSY, replace(BUSY, at=2, arrivals=None)).history.arrivals == 100


def test_a_clock_that_steps_back_changes_no_average():
    assert run(SCALE, replace(BUSY, at=10), replace(BUSY, at=5, arrivals=0)).history.arrivals == 100


def test_the_capacity_is_averaged_over_seconds_per_message():
    quick = replace(BUSY, at=5, service_s=0.5)
    assert run(SCALE, BUSY).history.capacity == pytest.approx(10)
    assert run(SCALE, BUSY, quick).history.capacity == pytest.approx(1 / (0.05 + 0.05 * math.exp(-1)))
    assert run(SCALE, BUSY, replace(BUSY, at=5, service_s=None)).history.capacity == pytest.approx(10)


def test_history_knows_since_when_and_of_when_it_is():
    history = run(SCALE, replace(BUSY, at=3), replace(BUSY, at=7)).history
    assert (history.since, history.at) == (3, 7)
