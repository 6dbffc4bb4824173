"""decide(): up at once, down after a while, never on what is not known, never to zero with work."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from headway.control.records import Cpu, Inflight, Lag, Latency, Scale
from headway.scaler.decide import NEW, decide
from headway.scaler.observation import Observation

LAG = Scale(cpu=None, inflight=None, max=20)
BUSY = Observation(at=0, workers=2, pending=1000, arrivals=100, finished=20, service_s=1.0, slots=10, in_hand=20)
IDLE = replace(BUSY, pending=0, arrivals=0, finished=0, in_hand=0)


def run(scale, *observations, **options):
    """The decision after several observations."""
    history, decision = NEW, None
    for seen in observations:
        decision = decide(scale, seen, history, **options)
        history = decision.history
    return decision


def test_the_lag_policy_has_workers_for_what_arrives_and_what_waits():
    # 100/s and 1,000 in half of 10 s are 300/s; at 10/s each that is 30 workers, less the tolerance of a tenth: 27.
    assert run(LAG.model_copy(update={"max": 50}), BUSY).desired == 27
    assert "1,000 queued and 100.0/s arriving need 30.0 workers" in run(LAG, BUSY).reason


def test_the_maximum_bounds_it_and_says_so():
    decision = run(LAG, BUSY)
    assert decision.desired == 20
    assert decision.reason.endswith("held at 20 by the maximum")


def test_a_step_bounds_how_many_are_added_at_once():
    assert run(LAG.model_copy(update={"step": 3}), BUSY).desired == 5


def test_fewer_are_wanted_only_after_they_were_enough_for_the_whole_window():
    start = run(LAG, BUSY).history
    for at, expected in ((1, 20), (5, 20), (9, 20), (30, 1)):
        decision = decide(LAG, replace(IDLE, at=at, workers=20), start)
        assert decision.desired == expected, (at, decision.reason)
        start = decision.history


def test_messages_in_retry_add_no_worker_but_keep_one():
    poison = replace(IDLE, ack_pending=10, redelivered=10, oldest_s=500)
    assert run(LAG.model_copy(update={"min": 0}), replace(poison, workers=0)).desired == 1
    assert run(LAG, replace(poison, workers=1)).desired == 1


def test_an_unknown_queue_stops_nothing_and_starts_nothing():
    unknown = replace(IDLE, pending=None, workers=7)
    decision = run(LAG, *(replace(unknown, at=at) for at in range(100)))
    assert decision.desired == 7
    assert decision.reason == "held: the queue length is unknown"


def test_a_silent_worker_stops_nothing():
    assert run(LAG, *(replace(IDLE, at=at, workers=7, complete=False) for at in range(100))).desired == 7


def test_the_first_message_wakes_a_service_from_zero():
    zero = LAG.model_copy(update={"min": 0})
    asleep = Observation(at=0, workers=0)
    assert run(zero, asleep).desired == 0
    assert run(zero, asleep, replace(asleep, at=1, pending=1, arrivals=1)).desired == 1


def test_a_service_of_calls_keeps_one_worker():
    assert run(LAG.model_copy(update={"min": 0}), Observation(at=0, workers=0), calls=True).desired == 1


def test_floors_of_version_and_schedule_hold():
    assert run(LAG, IDLE, minimum=4).desired == 4
    assert run(LAG, IDLE, floor=6).desired == 6


def test_a_fixed_number_stays_whatever_the_load():
    assert run(Scale.fixed(3), BUSY).desired == 3
    assert run(Scale.fixed(0), replace(BUSY, workers=0)).desired == 0


def test_with_no_measured_speed_and_nothing_finished_for_long_the_workers_double():
    slow = Observation(at=0, workers=2, pending=50, oldest_s=4, slots=10, in_hand=20, arrivals=1)
    assert run(LAG, slow).desired == 4


def test_with_no_measured_speed_one_is_added_at_a_time_while_more_wait_than_the_workers_have_slots_for():
    new = Observation(at=0, workers=2, pending=50, slots=10, in_hand=20, arrivals=1)
    assert run(LAG, new).desired == 3
    assert run(LAG, new, replace(new, at=1, workers=3)).desired == 4
    assert run(LAG, replace(new, pending=20)).desired == 2


def test_cpu_is_shared_out_at_its_target():
    scale = Scale(lag=None, inflight=None, cpu=Cpu(target=0.5))
    assert run(scale, Observation(at=0, workers=2, cpu=2.0)).desired == 4
    assert run(scale, Observation(at=0, workers=2, cpu=None)).desired == 2


def test_calls_in_flight_are_kept_below_their_limit():
    scale = Scale(lag=None, cpu=None, inflight=Inflight(target=0.5))
    assert run(scale, Observation(at=0, workers=1, inflight=100, limit=50)).desired == 4


def test_latency_adds_workers_only_while_those_there_are_busy():
    scale = Scale(lag=None, cpu=None, inflight=None, latency=Latency(p95="50ms"))
    slow = Observation(at=0, workers=2, cpu=1.8, calls=100, call_p95_s=0.2, call_mean_s=0.1)
    assert run(scale, slow).desired == 4
    idle = run(scale, replace(slow, cpu=0.1))
    assert idle.desired == 2


def test_several_policies_are_combined_by_their_maximum():
    both = Scale(max=50, inflight=None, lag=Lag(drain_within="10s"), cpu=Cpu(target=0.5))
    assert run(both, replace(BUSY, cpu=20.0)).desired == 36
    assert run(both, replace(BUSY, cpu=2.0)).desired == 27


observations = st.builds(
    Observation,
    at=st.just(0.0),
    workers=st.integers(0, 20),
    pending=st.none() | st.integers(0, 10**6),
    ack_pending=st.none() | st.integers(0, 10**4),
    arrivals=st.none() | st.floats(0, 1e5),
    service_s=st.none() | st.floats(1e-4, 100),
    work_cpu_s=st.none() | st.floats(0, 10),
    in_hand=st.integers(0, 1000),
    slots=st.none() | st.integers(1, 1000),
    cpu=st.none() | st.floats(0, 50),
    inflight=st.integers(0, 1000),
    limit=st.none() | st.integers(1, 1000),
    oldest_s=st.floats(0, 1e4),
    complete=st.booleans(),
)


@given(st.lists(observations, min_size=1, max_size=20), st.integers(0, 5), st.integers(5, 20), st.floats(0.1, 20))
def test_it_stays_between_its_bounds_and_stops_none_on_what_is_not_known(seen, low, high, step):
    scale = Scale(min=low, max=high)
    history, before = NEW, None
    for n, one in enumerate(seen):
        decision = decide(scale, replace(one, at=n * step), history)
        assert low <= decision.desired <= high
        if one.pending is None or one.ack_pending is None or not one.complete:
            assert before is None or decision.desired >= min(before, high), decision.reason
        elif one.pending + one.ack_pending + one.in_hand > 0:
            assert decision.desired >= 1
        assert decision.reason
        history, before = decision.history, decision.desired


@given(observations, st.integers(1, 3))
def test_steady_input_settles(one, low):
    scale = Scale(min=low, max=20)
    history, decided = NEW, []
    for n in range(200):
        decision = decide(scale, replace(one, at=n * 0.5), history)
        history = decision.history
        decided.append(decision.desired)
    assert len(set(decided[100:])) == 1, decided


@example(rate=250.03125, service_s=0.552226261687745, slots=2, low=1, backlog=0, late=0)
@given(
    st.floats(0.0, 500.0),
    st.floats(0.01, 2.0),
    st.integers(1, 64),
    st.integers(1, 3),
    st.integers(0, 5_000),
    st.integers(0, 4),
)
def test_workers_that_follow_its_decisions_come_to_rest_under_a_steady_load(rate, service_s, slots, low, backlog, late):
    """The loop closed: what waits is worked off by as many workers as were decided on some rounds ago."""
    scale = Scale(min=low, max=256, cpu=None, inflight=None, down_after=5, lag=Lag(drain_within=10))
    step, queue, history = 0.5, float(backlog), NEW
    decided = [low] * (late + 1)
    for n in range(300):
        workers = decided[-1 - late]
        done = min(queue + rate * step, workers * slots / service_s * step)
        queue = queue + rate * step - done
        seen = Observation(
            at=n * step,
            workers=workers,
            pending=int(queue),
            arrivals=rate,
            finished=done / step,
            service_s=service_s if done > 0 else None,
            slots=slots,
            in_hand=min(workers * slots, round(done / step * service_s)),
            oldest_s=queue / rate if rate else 0.0,
        )
        decision = decide(scale, seen, history)
        history = decision.history
        assert low <= decision.desired <= 256
        decided.append(decision.desired)
    # A deficit within the tolerance grows into a backlog slowly: that may bring one more worker late, and none goes.
    last = decided[-100:]
    assert last == sorted(last), decided
    assert last[-1] - last[0] <= 1, decided
    if rate * service_s / slots <= 200:
        assert queue <= max(1.0, rate * 10), "it also keeps up"


def test_retries_that_are_due_are_load_like_fresh_jobs():
    fresh = Observation(at=0, workers=1, pending=200, arrivals=0, service_s=2.0, slots=4, in_hand=4, ack_pending=4)
    retries = replace(fresh, pending=0, due=200, ack_pending=204, redelivered=204)
    assert run(LAG, retries).desired == run(LAG, fresh).desired == 18


def test_none_is_stopped_that_is_needed_to_hold_what_is_in_hand():
    long = Observation(at=0, workers=6, ack_pending=6, in_hand=6, slots=1, arrivals=0, service_s=50.0)
    assert run(LAG, *(replace(long, at=at) for at in range(100)), current=6).desired == 6
    half = replace(long, in_hand=3, ack_pending=3)
    assert run(LAG, *(replace(half, at=at) for at in range(100)), current=6).desired == 3
