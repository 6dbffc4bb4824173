"""observe(): rates from two moments; retries, restarts and silence are not mistaken for load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.telemetry.histogram import BUCKETS, Histogram
from headway.bus.wire.beat import Beat
from headway.scaler.lag import ConsumerLag
from headway.scaler.observe import Sample, observe


def beat(at: float, *, started=0.0, jobs=0, calls=0, each=0.1, cpu=0.0, retried=0, **more) -> Beat:
    job, rpc = Histogram(), Histogram()
    for _ in range(jobs):
        job.record(each)
    for _ in range(calls):
        rpc.record(each)
    facts = {
        "service": "app",
        "version": "v1",
        "worker": "w",
        "host": "h",
        "pid": 1,
        "started": started,
        "at": at,
        "state": "serving",
        "rpc_inflight": 0,
        "in_hand": 0,
        "oldest_s": 0,
        "processed": jobs + calls,
        "failed": 0,
        "rejected": 0,
        "retried": retried,
        "dead": 0,
        "shed": 0,
        "cpu_s": cpu,
        "rss_bytes": 1,
        "loop_lag_s": 0,
        "healthy": True,
        "slots": 8,
        "limit": 16,
        "latency": {"job": job.counts, "rpc": rpc.counts},
    }
    return Beat(**{**facts, **more})


def lane(pending=0, ack_pending=0, redelivered=0, delivered=0) -> ConsumerLag:
    return ConsumerLag(pending, ack_pending, redelivered, delivered, 0)


def moment(at: float, *lanes: ConsumerLag, stored=0, **beats: Beat) -> Sample:
    return Sample(at=at, lanes=lanes, stored=stored, beats=beats, well=frozenset(beats))


def test_arrivals_are_what_waits_or_was_delivered_more_than_before():
    before = moment(0, lane(pending=10, delivered=5), stored=15)
    now = moment(2, lane(pending=40, delivered=25), stored=65)
    assert observe(before, now).arrivals == 25


def test_messages_delivered_again_have_not_arrived():
    before = moment(0, lane(ack_pending=10, delivered=10), stored=10, w=beat(0, retried=10))
    now = moment(2, lane(ack_pending=10, redelivered=10, delivered=20), stored=10, w=beat(2, retried=20))
    seen = observe(before, now)
    assert (seen.arrivals, seen.pending, seen.redelivered) == (0, 0, 10)
    # A killed worker told of nothing it handed back; still no more arrived than was stored.
    assert observe(before, moment(2, lane(delivered=20, ack_pending=10), stored=10)).arrivals == 0


def test_jobs_that_workers_moved_to_another_lane_have_not_arrived():
    """30 came, and all of them were moved: taken from one lane, and stored again in another one."""
    before = moment(0, lane(pending=0, delivered=0), lane(), stored=0, w=beat(0))
    now = moment(2, lane(pending=0, delivered=30), lane(pending=20, delivered=10), stored=60, w=beat(2, moved=30))
    assert observe(before, now).arrivals == 15


def test_an_unknown_queue_is_unknown():
    known, unknown = moment(0, lane()), Sample(at=1, lanes=None)
    for before, now in ((known, unknown), (unknown, known), (None, known)):
        assert observe(before, now).arrivals is None
    assert observe(known, unknown).pending is None


def test_speed_and_cpu_are_those_of_the_time_between():
    before = moment(0, w=beat(0, jobs=100, each=5.0, cpu=50))
    old = before.beats["w"].latency["job"]
    now_beat = beat(2, jobs=20, each=0.1, cpu=51)
    now_beat.latency["job"] = [a + b for a, b in zip(now_beat.latency["job"], old, strict=True)]
    seen = observe(before, moment(2, w=now_beat))
    assert seen.finished == 10
    assert seen.cpu == 0.5
    assert seen.work_cpu_s == 0.05
    assert seen.service_s is not None
    assert 0.07 <= seen.service_s <= 0.1
    assert (seen.slots, seen.limit) == (8, 16)


def test_a_worker_that_started_anew_counts_from_its_start_but_for_the_cpu_time_it_started_with():
    before = moment(0, w=beat(0, started=-100, jobs=1000, cpu=90))
    seen = observe(before, moment(2, w=beat(2, started=1, jobs=5, cpu=0.5)))
    assert (seen.finished, seen.cpu) == (5, None)


def test_calls_have_their_own_latency():
    seen = observe(moment(0, w=beat(0)), moment(2, w=beat(2, calls=50, each=0.02)))
    assert seen.calls == 25
    assert seen.call_p95_s is not None
    assert 0.015 < seen.call_p95_s <= 0.02
    assert seen.service_s is None


def test_without_a_worker_that_told_cpu_is_unknown():
    assert observe(None, moment(0)).cpu is None


counts = st.integers(0, 1000)


@given(st.lists(st.tuples(counts, counts, counts, counts), min_size=2, max_size=2), st.floats(0.1, 10))
def test_no_rate_is_ever_negative(moments, seconds):
    (a, b, c, d), (e, f, g, h) = moments
    before = moment(0, lane(a, b, 0, c), stored=d, w=beat(0, jobs=a % 50, cpu=b, retried=c))
    now = moment(seconds, lane(e, f, 0, g), stored=h, w=beat(seconds, jobs=e % 50, cpu=f, retried=g))
    seen = observe(before, now)
    assert seen.arrivals is not None
    assert seen.cpu is not None
    assert min(seen.arrivals, seen.finished, seen.cpu, seen.calls) >= 0
    assert len(BUCKETS) + 1 == len(before.beats["w"].latency["job"])


def held(count: int, **more) -> Sample:
    """A sample of one worker of eight slots with so many messages in hand."""
    return Sample(at=0, beats={"w": beat(0, in_hand=count)}, well=frozenset("w"), **more)


def test_what_is_neither_in_hand_nor_waiting_for_its_time_is_due():
    lanes = (lane(ack_pending=100, delivered=100),)
    assert observe(None, held(8, lanes=lanes)).due == 92
    assert observe(None, held(8, lanes=lanes, waiting=50)).due == 42
    assert observe(None, held(8, lanes=lanes, waiting=50, elsewhere=30, silent=1)).due == 4
    assert observe(None, held(8, lanes=lanes, waiting=500)).due == 0


def test_a_worker_with_room_takes_what_is_due_so_that_nothing_is():
    assert observe(None, held(2, lanes=(lane(ack_pending=100, delivered=100),))).due == 0


def test_without_a_worker_all_that_was_handed_back_is_due():
    assert observe(None, Sample(at=0, lanes=(lane(ack_pending=5, delivered=5),))).due == 5


def test_a_worker_whose_clock_jumps_is_measured_by_its_steady_clock():
    before = moment(0, w=beat(1000, cpu=1, uptime_s=10))
    for jumped in (-3600, 0, 3600):
        seen = observe(before, moment(2, w=beat(1002 + jumped, jobs=20, cpu=2, uptime_s=12)))
        assert (seen.finished, seen.cpu) == (10, 0.5)
