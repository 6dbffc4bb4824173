"""What each policy wants, at the values where it begins to want something else."""

from __future__ import annotations

import pytest

from headway.control.records import Cpu, Inflight, Lag, Latency, Scale
from headway.scaler import policies
from headway.scaler.observation import Observation

LAG = Lag(drain_within="10s")


def seen(**known) -> Observation:
    return Observation(**{"at": 0.0, "workers": 2, "pending": 0, "ack_pending": 0, **known})


def numbers(want: policies.Want) -> tuple[int, int | None]:
    return want.up, want.keep


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"slots": 10, "service_s": 2.0}, 5.0),
        ({"slots": 10, "service_s": 2.0, "work_cpu_s": 0.9}, 1.0),
        ({"slots": 10, "service_s": 2.0, "work_cpu_s": 0.09}, 5.0),
        ({"slots": 10, "service_s": 2.0, "work_cpu_s": 1e-6}, 5.0),
        ({"slots": None, "service_s": 2.0, "work_cpu_s": 0.3}, 3.0),
        ({"slots": None, "service_s": 2.0}, None),
        ({"slots": None, "service_s": 2.0, "work_cpu_s": 1e-6}, None),
        ({"slots": 10, "service_s": None, "work_cpu_s": 0.3}, None),
        ({"slots": 10, "service_s": 0.0, "work_cpu_s": 0.3}, None),
    ],
)
def test_a_worker_can_do_what_its_slots_and_its_core_allow(known, expected):
    found = policies.capacity(seen(**known))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("load", "up", "keep"),
    [(0.0, 0, 0), (0.1, 0, 0), (0.11, 1, 1), (1.0, 1, 1), (1.2, 2, 2), (2.0, 2, 2), (2.3, 3, 3), (10.0, 9, 10)],
)
def test_a_load_wants_more_from_a_tenth_above_and_fewer_below_a_whole_number(load, up, keep):
    assert numbers(policies.cpu(Cpu(target=0.5), seen(cpu=load * 0.5))) == (up, keep)


def test_the_reason_of_the_cpu_policy_has_its_numbers():
    want = policies.cpu(Cpu(target=0.5), seen(cpu=2.0))
    assert want.reason == "2.00 cores used, 50% of a core per worker: 4.0 workers"
    assert policies.cpu(Cpu(target=0.5), seen(cpu=None)) == ("cpu", 0, None, "the CPU time is unknown")


def test_calls_in_flight_want_workers_by_the_share_of_their_limit():
    assert numbers(policies.inflight(Inflight(target=0.5), seen(inflight=100, limit=50))) == (4, 4)
    assert numbers(policies.inflight(Inflight(target=0.5), seen(inflight=10, limit=50))) == (1, 1)


@pytest.mark.parametrize("unknown", [{"pending": None}, {"ack_pending": None}])
def test_a_queue_that_is_not_known_stops_nothing(unknown):
    assert numbers(policies.lag(LAG, seen(**unknown), 5.0, 10.0)) == (0, None)


@pytest.mark.parametrize(
    ("known", "up", "keep"),
    [
        ({}, 0, 0),
        ({"in_hand": 1, "slots": 10}, 1, 1),
        ({"in_hand": 11, "slots": 10}, 1, 2),
        ({"in_hand": 11, "slots": None}, 1, 1),
        ({"ack_pending": 3, "redelivered": 3}, 1, 1),
    ],
)
def test_what_is_in_hand_keeps_as_many_as_hold_it_and_one_is_wanted_for_anything(known, up, keep):
    assert numbers(policies.lag(LAG, seen(**known), 0.0, 10.0)) == (up, keep)


def test_what_is_in_hand_for_the_first_time_is_work_whose_speed_counts():
    assert "awaiting a retry" not in policies.lag(LAG, seen(ack_pending=3, redelivered=2), 0.0, 10.0).reason
    assert policies.lag(LAG, seen(), 0.0, 10.0).reason == "nothing is queued"
    assert "awaiting a retry" in policies.lag(LAG, seen(ack_pending=3, redelivered=3), 0.0, 10.0).reason


@pytest.mark.parametrize(
    ("known", "arrivals", "up", "keep"),
    [
        ({"pending": 100}, 0.0, 2, 2),  # 100 in 5 s at 10/s
        ({"pending": 50, "due": 50}, 0.0, 2, 2),  # retries that are due count
        ({"pending": 0}, 20.0, 2, 2),
        ({"pending": 100}, 20.0, 4, 4),
        ({"pending": 100, "in_hand": 31, "slots": 10}, 0.0, 2, 4),
        ({"pending": 1}, 0.0, 1, 1),
    ],
)
def test_what_waits_is_to_be_gone_in_half_of_the_time_beside_what_arrives(known, arrivals, up, keep):
    assert numbers(policies.lag(LAG, seen(**known), arrivals, 10.0)) == (up, keep)


@pytest.mark.parametrize(
    ("known", "up", "keep"),
    [
        ({"pending": 9, "oldest_s": 2.5, "slots": 10}, 1, 2),
        ({"pending": 9, "oldest_s": 2.6, "slots": 10}, 4, 4),
        ({"pending": 0, "oldest_s": 9.0, "slots": 10, "in_hand": 1}, 1, 2),
        ({"pending": 20, "slots": 10}, 1, 2),
        ({"pending": 21, "slots": 10}, 3, 3),
        ({"pending": 21, "slots": None}, 1, 2),
        ({"pending": 21, "oldest_s": 9.0, "workers": 0, "slots": 10}, 1, 1),
    ],
)
def test_while_the_speed_is_unknown_workers_are_added_carefully(known, up, keep):
    assert numbers(policies.lag(LAG, seen(**known), 1.0, None)) == (up, keep)


SLOW = {"cpu": 1.8, "call_p95_s": 0.2, "call_mean_s": 0.1, "limit": 100}


@pytest.mark.parametrize(
    ("known", "up", "keep"),
    [
        ({**SLOW, "call_p95_s": 0.11}, 0, 2),  # within the tolerance
        ({**SLOW, "call_p95_s": 0.034}, 0, 1),  # half of what fewer may be expected to reach
        ({**SLOW, "workers": 10, "call_p95_s": 0.05, "cpu": 9.0}, 0, 8),
        ({**SLOW, "call_p95_s": 0.12}, 3, 3),
        ({**SLOW, "workers": 10, "cpu": 9.0}, 20, 20),
        ({**SLOW, "workers": 10, "call_p95_s": 0.9, "cpu": 9.0}, 20, 20),  # at most twice as many
        ({**SLOW, "workers": 10, "call_p95_s": 0.15, "cpu": 9.0}, 15, 15),
        ({**SLOW, "cpu": 0.4}, 0, 2),  # a fifth of a core each: they idle
        ({**SLOW, "cpu": 0.41}, 4, 4),
        ({**SLOW, "cpu": None, "inflight": 20}, 0, 2),  # a tenth of their limit: they idle
        ({**SLOW, "cpu": None, "inflight": 21}, 4, 4),
        ({**SLOW, "cpu": None, "inflight": 21, "limit": None}, 0, 2),
        ({**SLOW, "call_p95_s": None}, 0, 0),
    ],
)
def test_slow_calls_want_more_workers_while_these_are_busy(known, up, keep):
    assert numbers(policies.latency(Latency(p95="100ms"), seen(**known))) == (up, keep)


def test_the_worse_of_mean_and_95th_percentile_counts_and_is_named():
    both = Latency(mean="50ms", p95="150ms")
    assert policies.latency(both, seen(**SLOW)).reason == "mean 100 ms of 50 ms"
    assert policies.latency(both, seen(**{**SLOW, "call_p95_s": 0.4})).reason == "p95 400 ms of 150 ms"
    slow = {**SLOW, "call_mean_s": 4.0, "call_p95_s": None}
    assert policies.latency(Latency(mean="2s"), seen(**slow)).reason == "mean 4,000 ms of 2,000 ms"


def test_exactly_a_tenth_above_the_bound_is_within_the_tolerance():
    assert policies.latency(Latency(mean="1s"), seen(cpu=1.8, call_mean_s=1.1)).up == 0


def test_each_policy_that_is_on_and_can_be_judged_is_asked():
    scale = Scale(lag=LAG, cpu=Cpu(target=0.5), inflight=Inflight(target=0.5), latency=Latency(p95="100ms"))

    def asked(scale: Scale, **known) -> list[str]:
        return [want.policy for want in policies.wants(scale, seen(**known), 0.0, None)]

    assert asked(scale, limit=10) == ["lag", "cpu", "inflight", "latency"]
    assert asked(scale, limit=None) == ["lag", "cpu", "latency"]
    assert asked(scale, workers=0, limit=10) == ["lag", "inflight"]
    assert asked(Scale(lag=None, cpu=None, inflight=None), limit=10) == []
