"""What is made of heartbeats: sums by version that survive restarts and deaths, and who is there."""

from __future__ import annotations

import pytest

from headway.bus.telemetry.histogram import BUCKETS
from headway.bus.wire.beat import Beat
from headway.control import fleet
from headway.control.counts import LAGS
from headway.control.fleet import FORGOTTEN, SILENCE, Fleet


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1_000_000


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(fleet, "time", made)
    return made


@pytest.fixture
def ear(clock):
    return Fleet()


def beat(worker="w1", version="v1", **changes) -> Beat:
    """A heartbeat of a worker that lives for an hour already, unless told otherwise."""
    usual = {
        "service": "fax",
        "version": version,
        "worker": worker,
        "host": "h",
        "pid": 1,
        "started": -3600.0,
        "at": 0.0,
        "state": "serving",
        "rpc_inflight": 0,
        "in_hand": 0,
        "oldest_s": 0.0,
        "processed": 0,
        "failed": 0,
        "rejected": 0,
        "retried": 0,
        "dead": 0,
        "shed": 0,
        "latency": {},
        "cpu_s": 0.0,
        "rss_bytes": 0,
        "loop_lag_s": 0.0,
        "healthy": True,
    }
    return Beat(**{**usual, **changes})


def hear(ear, *beats: Beat) -> None:
    for one in beats:
        ear.hear(one)


def histogram(bucket: int, count: int) -> list[int]:
    return [count if n == bucket else 0 for n in range(len(BUCKETS) + 1)]


def test_what_was_before_we_listened_does_not_count(ear):
    hear(ear, beat(processed=100, failed=50), beat(processed=103, failed=51, rejected=1, dead=1, shed=2, at=1.0))
    count = ear.take("fax", "v1")
    assert (count.tries, count.errors, count.rejected, count.dead, count.shed) == (5, 1, 1, 1, 2)
    assert ear.take("fax", "v1").tries == 0, "it was taken"


def test_a_worker_that_started_since_counts_from_its_start(ear, clock):
    clock.now += 2
    hear(ear, beat(started=1.0, processed=7, cpu_s=0.5, at=2.0))
    assert ear.take("fax", "v1").tries == 7


def test_a_version_that_nobody_asks_about_takes_no_more_room_with_time(ear):
    hear(ear, *(beat(at=float(second), loop_lag_s=second) for second in range(2 * LAGS)))
    assert list(ear.take("fax", "v1").lags) == list(range(LAGS, 2 * LAGS))


def test_what_starting_costs_is_no_load(ear, clock):
    clock.now += 2
    hear(ear, beat(started=0.5, cpu_s=0.5, at=1.0, loop_lag_s=9), beat(started=0.5, cpu_s=0.6, at=2.0))
    count = ear.take("fax", "v1")
    assert (round(count.cpu_s, 3), count.seconds, count.lags) == (0.1, 1.0, (0.0,))


def test_a_worker_of_the_same_name_that_was_started_anew_counts_from_zero(ear, clock):
    hear(ear, beat(processed=10), beat(processed=12), beat(processed=3, started=5.0, at=5.0))
    assert ear.take("fax", "v1").tries == 2 + 3


def test_all_workers_of_a_version_are_summed_and_those_that_died_stay_in_the_sum(ear):
    first = {"rpc": histogram(3, 5)}
    hear(ear, beat("w1"), beat("w2"), beat("w3", "v2"))
    hear(ear, beat("w1", processed=5, latency=first), beat("w2", processed=2, latency={"rpc": histogram(4, 2)}))
    hear(ear, beat("w2", processed=3, latency={"rpc": histogram(4, 3)}, state="stopped"))
    hear(ear, beat("w3", "v2", failed=1))
    count = ear.take("fax", "v1")
    assert count.tries == 8
    assert sum(count.latency["rpc"]) == 8
    assert count.latency["rpc"][3] == 5
    assert ear.take("fax", "v2").errors == 1


def test_who_serves_who_is_there_and_what_they_have_in_hand(ear):
    hear(
        ear,
        beat("w1", in_hand=2, rpc_inflight=1),
        beat("w2", healthy=False),
        beat("w3", state="draining", in_hand=4),
        beat("w4", "v2"),
        beat("w5", "v2"),
        beat("w5", "v2", state="stopped"),
    )
    assert ear.serving("fax") == {"v1": 1, "v2": 1}
    assert ear.alive("fax") == {"v1": 3, "v2": 1}
    assert ear.busy("fax") == {"v1": 7, "v2": 0}
    assert ear.serving("other") == {}


def test_who_falls_silent_is_not_there_unless_we_could_not_hear(ear, clock):
    clock.now += SILENCE
    hear(ear, beat("w1"))
    clock.now += SILENCE
    assert ear.alive("fax") == {}
    hear(ear, beat("w1"))
    clock.now += SILENCE
    ear.reconnected()
    assert not ear.settled
    assert ear.alive("fax") == {"v1": 1}


def test_a_worker_that_was_silent_and_comes_back_is_not_counted_from_its_start_again(ear, clock):
    hear(ear, beat(started=0.0, at=0.0), beat(started=0.0, at=1.0, processed=100))
    assert ear.take("fax", "v1").tries == 100
    clock.now += 20 * SILENCE
    assert ear.alive("fax") == {}
    hear(ear, beat(started=0.0, at=61.0, processed=103))
    assert ear.take("fax", "v1").tries == 3


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_worker_whose_clock_is_wrong_counts_like_any_other(ear, clock, skew):
    clock.now += 5
    hear(ear, beat("young", started=skew + 1.0, at=skew + 2.0, processed=7))
    hear(ear, beat("old", started=skew - 90.0, at=skew + 2.0, processed=1_000))
    assert ear.take("fax", "v1").tries == 7


def test_what_was_not_heard_of_for_long_is_forgotten(ear, clock):
    hear(ear, *(beat(f"w{n}", f"v{n}") for n in range(100)))
    clock.now += FORGOTTEN
    hear(ear, beat("w-new", "v-new"))
    assert [one.last.worker for one in ear.members()] == ["w-new"]
    assert set(ear._told) == {("fax", "v-new")}
    assert set(ear._totals) <= {("fax", "v-new")}


def test_how_long_a_version_has_had_no_worker(ear, clock):
    clock.now += SILENCE
    hear(ear, beat("w1"))
    assert ear.missing("fax", ["v1", "v2"]) == {"v1": 0.0, "v2": SILENCE}
    clock.now += 10
    assert ear.missing("fax", ["v1"])["v1"] == 10
    ear.reconnected()
    assert ear.missing("fax", ["v1"])["v1"] == 0, "silence until now was ours"
