"""Which periodic jobs count, and from when on."""

from __future__ import annotations

from headway.bus.wire.beat import Beat
from headway.bus.wire.periodic import PeriodicJob
from headway.control.records import PeriodicState, ScheduleRecord
from headway.scheduler.periodic import merged, speaker

HOURLY = PeriodicJob(name="report", cron="0 * * * *")


def beat(version: str, started: float, state: str = "serving") -> Beat:
    zero = dict.fromkeys(
        ("rpc_inflight", "in_hand", "oldest_s", "processed", "failed", "rejected", "retried", "dead", "shed"), 0
    )
    return Beat(
        service="app", version=version, worker=f"{version}-{started}", host="h", pid=1, started=started, at=started,
        state=state, latency={}, cpu_s=0, rss_bytes=0, loop_lag_s=0, healthy=True, **zero,
    )  # fmt: skip


def test_a_new_job_runs_first_at_its_next_time():
    assert merged(None, "app", "v1", [HOURLY], 100.0).jobs == {"report": PeriodicState(job=HOURLY, last=100.0)}


def test_a_job_that_another_version_declares_likewise_goes_on_where_it_was():
    before = ScheduleRecord(
        service="app", version="v1", jobs={"report": PeriodicState(job=HOURLY, last=50.0, paused=True)}
    )
    after = merged(before, "app", "v2", [HOURLY.model_copy(update={"missed": "skip"})], 100.0)
    state = after.jobs["report"]
    assert (after.version, state.last, state.paused, state.job.missed) == ("v2", 50.0, True, "skip")


def test_a_job_with_other_times_begins_anew_and_one_that_is_gone_is_forgotten():
    old = PeriodicJob(name="old", every=5)
    before = merged(None, "app", "v1", [HOURLY, old], 50.0)
    after = merged(before, "app", "v2", [HOURLY.model_copy(update={"cron": "30 * * * *"})], 100.0)
    assert {name: state.last for name, state in after.jobs.items()} == {"report": 100.0}


def test_what_a_worker_announces_is_checked():
    wrong = [
        PeriodicJob(name="a.b", every=5),
        PeriodicJob(name="quick", every=0.001),
        PeriodicJob(name="never", cron="0 0 30 2 *"),
        PeriodicJob(name="where", cron="* * * * *", tz="../../etc/passwd"),
    ]
    assert merged(None, "app", "v1", [*wrong, HOURLY], 1.0).jobs.keys() == {"report"}


def test_the_version_with_the_most_traffic_speaks():
    beats = [beat("v1", 1), beat("v2", 2)]
    assert speaker(beats, {"v1": 95, "v2": 5}).version == "v1"
    assert speaker(beats, {"v1": 0, "v2": 100}).version == "v2"
    assert speaker(beats, {}).version == "v2"


def test_while_that_version_has_no_worker_nobody_speaks():
    assert speaker([beat("v2", 2)], {"v1": 95, "v2": 5}) is None
    assert speaker([beat("v1", 2, state="draining")], {"v1": 100}) is None
    assert speaker([], {}) is None
