"""The console's rows: what is made of a look at everything, and which of it has to be written."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headway.bus.client.dead import DeadLetter
from headway.bus.errors import InvalidSubject
from headway.bus.wire import subjects
from headway.bus.wire.beat import BUCKETS, Beat
from headway.clientsync.errors import BadRequest
from headway.console.actions import LetterActions, Release, parse
from headway.console.changes import Write, alike, changes
from headway.console.meter import Flow, Meter
from headway.console.project import PREVIEW, points, project, rounded
from headway.console.snapshot import FleetSnapshot, WorkerView
from headway.console.trends import POINTS, STEP, Trends
from headway.control.counts import Count
from headway.control.records import Decided, RolloutRecord, Scale, ScaleRecord, ServiceRecord, Transition, VersionRecord
from headway.status import JobQueue, summarise

LATENCY = [0] * (len(BUCKETS) + 1)


def beat(worker: str = "w1", version: str = "v1", **different) -> Beat:
    usual = {
        "service": "fax",
        "version": version,
        "worker": worker,
        "host": "h",
        "pid": 1,
        "started": 1000.0,
        "at": 1060.0,
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
        "latency": {"rpc": LATENCY},
        "cpu_s": 1.0,
        "rss_bytes": 61_000_000,
        "loop_lag_s": 0.0,
        "healthy": True,
    }
    return Beat(**{**usual, **different})


def look(*beats: Beat, weights=None, scales=None, dead=None, waiting=0, **different) -> FleetSnapshot:
    beats = beats or (beat(),)
    weights = {"fax": {"v1": 100}} if weights is None else weights
    scales = scales or {}
    status = summarise("nats://here", beats, {("fax", "v1"): JobQueue(waiting=waiting)}, weights, dead or {}, scales)
    usual = {
        "services": {"fax": ServiceRecord(service="fax", scale=Scale(min=1, max=8))},
        "scales": scales,
        "versions": {("fax", "v1"): VersionRecord(service="fax", version="v1", app="a:b", root="/", weight=100)},
        "workers": tuple(WorkerView(one) for one in beats),
    }
    return FleetSnapshot(at=2000.0, status=status, **{**usual, **different})


def fax(**different):
    return project(look(**different))["service", "fax"]


def letter(seq: int = 7, payload: bytes = b'{"to": "x"}', **different) -> DeadLetter:
    usual = {
        "seq": seq,
        "service": "fax",
        "tenant": "acme",
        "operation": "send",
        "cause": "rejected",
        "reason": "no such line",
        "attempts": 3,
        "traceback": "",
        "subject": "job.fax.v1.3.acme.send",
        "stream": "JOBS_fax",
        "stream_seq": 5,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "payload": payload,
        "headers": {},
    }
    return DeadLetter(**{**usual, **different})


# What a service's row says.


def test_a_row_has_workers_bounds_queue_and_what_was_done_lately():
    flow = Flow(rate=12.34, failed=0.0312, p95=0.0457)
    scales = {("fax", "v1"): ScaleRecord(service="fax", version="v1", desired=3)}
    row = fax(together={"fax": flow}, waiting=12, scales=scales, oldest={("fax", "v1"): 4.7})
    assert (row["workers"], row["desired"], row["low"], row["high"]) == (1, 3, 1, 8)
    assert (row["waiting"], row["oldest_s"], row["rate"], row["failed"], row["p95_ms"]) == (12, 4, 12.0, 3.1, 46.0)
    assert [(one["version"], one["weight"]) for one in row["versions"]] == [("v1", 100)]


def crashing(**different) -> ScaleRecord:
    return ScaleRecord(service="fax", version="v1", desired=1, deaths=5, last_exit="exit code 1", **different)


def releasing(phase: str) -> dict[str, RolloutRecord]:
    return {"fax": RolloutRecord(service="fax", version="v2", before="v1", phase=phase)}


@pytest.mark.parametrize(
    ("different", "state", "says"),
    [
        ({}, "ok", "all is well"),
        ({"scales": {("fax", "v1"): crashing(health="crash-loop")}}, "down", "crash loop: exit code 1"),
        ({"scales": {("fax", "v1"): crashing(health="restarting")}}, "unwell", "5 of its workers died"),
        ({"waiting": 3, "oldest": {("fax", "v1"): 45.0}}, "busy", "45 s old"),
        ({"waiting": 3, "oldest": {("fax", "v1"): 3.0}}, "ok", "all is well"),
        ({"rollouts": releasing("judge")}, "rollout", "at 5%"),
        ({"rollouts": releasing("done")}, "ok", "all is well"),
        ({"services": {"fax": ServiceRecord(service="fax", suspended=True)}}, "stopped", "stopped"),
        ({"unreadable": {"version.fax.v1": "EOF"}}, "unwell", "headway records mend version.fax.v1"),
        ({"unreadable": {"version.voicemail.v1": "EOF"}}, "ok", "all is well"),
        ({"crowded": {("fax", "v1"): 0.85}}, "busy", "85% of the unfinished messages"),
        ({"crowded": {("fax", "v1"): 0.5}}, "ok", "all is well"),
        ({"services": {"fax": ServiceRecord(service="fax", orphans=("order.gone",))}}, "unwell", "order.gone"),
    ],
)
def test_the_worst_that_is_true_of_a_service_is_its_state(different, state, says):
    row = fax(**different)
    assert (row["state"], says in row["note"]) == (state, True), row["note"]


def test_traffic_without_a_worker_is_down_but_not_where_none_is_wanted():
    gone = beat(state="stopped")
    assert project(look(gone))["service", "fax"]["state"] == "down"
    asleep = {("fax", "v1"): ScaleRecord(service="fax", version="v1", desired=0)}
    assert project(look(gone, scales=asleep))["service", "fax"]["state"] == "ok"


def test_what_became_of_a_version_that_is_not_wanted_any_more_is_no_trouble():
    past = ScaleRecord(service="fax", version="v0", desired=0, health="crash-loop", deaths=5)
    row = fax(scales={("fax", "v0"): past})
    assert (row["state"], [one["version"] for one in row["versions"]]) == ("ok", ["v0", "v1"])


def test_a_service_that_is_declared_and_runs_nowhere_has_a_row_too():
    found = project(look(services={"calls": ServiceRecord(service="calls")}))
    assert found["service", "calls"]["workers"] == 0
    assert ("service", "fax") in found, "and one that runs without being declared"


# The other rows.


@pytest.mark.parametrize(
    ("heard", "state", "note"),
    [
        (WorkerView(beat()), "serving", ""),
        (WorkerView(beat(), silent=4.0), "silent", "no heartbeat"),
        (WorkerView(beat(healthy=False)), "serving", "health check fails"),
        (WorkerView(beat(hung=2)), "serving", "2 handlers"),
        (WorkerView(beat(loop_lag_s=0.8)), "serving", "event loop is late"),
    ],
)
def test_a_workers_row_says_what_is_wrong_with_it(heard, state, note):
    row = project(look(workers=(heard,)))["worker", "w1"]
    assert (row["state"], note in row["note"], bool(row["note"])) == (state, True, bool(note))


def test_decisions_of_all_versions_are_in_one_list_the_newest_first():
    def decided(version: str, *times: float) -> ScaleRecord:
        history = tuple(Decided(at=at, before=1, desired=2, reason="lag") for at in times)
        return ScaleRecord(service="fax", version=version, history=history)

    scales = {("fax", "v1"): decided("v1", 1.0, 5.0), ("fax", "v2"): decided("v2", 3.0)}
    row = project(look(scales=scales))["scaling", "fax"]
    assert [(one["version"], one["at"]) for one in row["decisions"]] == [("v1", 5.0), ("v2", 3.0), ("v1", 1.0)]


def test_a_rollouts_row_is_its_record_with_the_last_of_its_history():
    step = Transition(at=1.0, before="shift", after="judge", reason="")
    record = RolloutRecord(service="fax", version="v2", before="v1", history=(step,) * 60)
    row = project(look(rollouts={"fax": record}))["rollout", "fax"]
    assert (row["version"], len(row["history"])) == ("v2", 40)


def test_a_dead_letter_shows_the_beginning_of_any_payload():
    rows = project(look(letters=(letter(), letter(8, b"\xff" * 5000), letter(9, b"", blob="dead/x"))))
    assert rows["dead", "7"]["preview"] == '{"to": "x"}'
    assert len(rows["dead", "8"]["preview"]) == PREVIEW
    assert (rows["dead", "8"]["size"], rows["dead", "9"]["size"]) == (5000, None)


def test_all_rows_are_plain_json_with_names_that_fit_a_subject():
    rows = project(look(letters=(letter(),)))
    for kind, name in rows:
        assert subjects.obj(subjects.CONSOLE, kind, name)


# What has to be written.


def test_what_did_not_change_is_not_written_and_noise_is_no_change():
    before = project(look())
    assert changes(before, project(look())) == []
    noisy = project(look(beat(rss_bytes=63_500_000, at=1061.0, cpu_s=1.02)))
    assert [write.name for write in changes(before, noisy)] == []
    grown = project(look(beat(rss_bytes=90_000_000)))
    assert {write.name for write in changes(before, grown)} == {("worker", "w1"), ("service", "fax")}


def test_what_is_gone_is_deleted():
    before = project(look(letters=(letter(),)))
    assert changes(before, project(look())) == [Write(("dead", "7"), None)]


def test_a_list_that_got_longer_is_another_one():
    assert not alike([1], [1, 2])
    assert not alike({"a": 1}, {"a": 1, "b": 2})
    assert not alike(None, 0.0)


@pytest.mark.parametrize(("value", "shown"), [(0.001, 0.0), (1234.0, 1200.0), (0.456, 0.46), (99.9, 100.0)])
def test_numbers_have_two_significant_digits(value, shown):
    assert rounded(value) == shown


# Flows and charts.


def test_a_flow_is_of_the_last_window_and_nothing_when_nothing_was_done():
    meter = Meter(window=30.0)
    fast, slow = [0] * (len(BUCKETS) + 1), [0] * (len(BUCKETS) + 1)
    fast[5], slow[20] = 95, 5
    key = ("fax", "v1")
    meter.note(0.0, key, Count())
    meter.note(10.0, key, Count(tries=95, latency={"rpc": fast}))
    meter.note(20.0, key, Count(tries=5, errors=5, latency={"rpc": slow, "job": slow}))
    flow = meter.flow(20.0, [key])
    assert (flow.rate, flow.failed) == (5.0, 0.05)
    assert flow.p95 is not None
    assert BUCKETS[4] < flow.p95 <= BUCKETS[20]
    meter.note(51.0, key, Count())
    assert meter.flow(51.0, [key]) == Flow()


def test_a_chart_gets_a_point_every_few_seconds_and_keeps_the_last_ones():
    trends = Trends()
    rows = project(look(together={"fax": Flow(rate=3.0)}))
    for n in range(POINTS + 5):
        trends.note(n * STEP, points(rows))
        trends.note(n * STEP + 1, points(rows))
    lines = trends.rows()["fax"]
    assert lines["rate"] == [3.0] * POINTS
    assert lines["p95_ms"] == [None] * POINTS
    trends.note(1e6, {})
    assert trends.rows() == {}


def test_a_new_projector_goes_on_with_the_charts_of_the_last_one():
    old = Trends()
    old.note(0.0, {"fax": {"rate": 1.0}})
    new = Trends(old.rows())
    new.note(time.monotonic(), {"fax": {"rate": 2.0}})
    assert new.rows()["fax"]["rate"] == [1.0, 2.0]


# What is asked, and who may be called so.


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "nuke"},
        {"do": "replay"},
        {"do": "replay", "seqs": []},
        {"do": "replay", "seqs": ["1"]},
        [],
        {"do": "discard", "seqs": list(range(301))},
        {"do": "abort"},
        {"do": "abort", "service": "fax", "to": "v1"},
    ],
)
def test_only_what_there_is_can_be_asked(request_):
    with pytest.raises(BadRequest):
        parse(request_)


def test_what_there_is_is_understood():
    assert parse({"do": "replay", "seqs": [3]}) == LetterActions(do="replay", seqs=[3])
    assert parse({"do": "pause", "service": "fax"}) == Release(do="pause", service="fax")


@pytest.mark.parametrize(
    "use",
    [
        subjects.application_tenant,
        lambda name: subjects.rpc("fax", name, "status"),
        lambda name: subjects.job("fax", name, "send"),
        lambda name: subjects.event(name, "call.ended"),
    ],
)
def test_no_application_has_the_consoles_tenant(use):
    with pytest.raises(InvalidSubject, match="console"):
        use("headway")
    assert use("headway-2")


def test_a_snapshot_without_anything_has_the_installation_alone():
    empty = replace(look(), status=summarise("u", [], {}, {}, {}), services={}, versions={}, workers=())
    assert list(project(empty)) == [("installation", "main")]


# Whether a service is well although its workers are.


def failing(share: float, rate: float = 10.0, **different):
    row = fax(together={"fax": Flow(rate=rate, failed=share, p95=0.1)}, **different)
    return row["state"], row["note"]


def test_failures_beyond_the_usual_rate_make_a_service_unwell():
    assert failing(0.34) == ("unwell", "34% of its work failed in the last half minute")
    assert failing(0.34, usual={"fax": 0.01})[1].endswith("usually 1%")
    assert failing(0.34, usual={"fax": 0.3}) == ("ok", "all is well"), "as it always is"
    assert failing(0.04) == ("ok", "all is well")


def test_one_failure_of_a_quiet_service_may_be_chance():
    assert failing(1.0, rate=1 / 30) == ("ok", "all is well")


def test_what_is_usual_is_the_median_of_the_minutes_before():
    trends = Trends()
    for number in range(20):
        values = dict.fromkeys(("rate", "p95_ms", "waiting"), 1.0) | {"failed": 50.0 if number >= 14 else 2.0}
        trends.note(number * STEP, {"fax": values})
    assert trends.usual_failures() == {"fax": 0.02}
    assert Trends({"fax": {"failed": [1.0, None]}}).usual_failures() == {}


def test_new_dead_letters_make_a_service_unwell_and_old_ones_do_not():
    new = letter(at=datetime.fromtimestamp(1990.0, UTC))
    assert fax(letters=(new,))["note"] == "1 new dead letter in the last five minutes"
    assert fax(letters=(letter(),), dead={"fax": 1})["state"] == "ok"


def test_a_worker_without_heartbeats_makes_a_service_unwell_until_it_counts_as_gone():
    assert fax(workers=(WorkerView(beat(), silent=5.0),))["note"] == "1 worker sent no heartbeat for 3 s"
    assert fax(workers=(WorkerView(beat(), silent=60.0),))["state"] == "ok"


def test_a_queue_in_which_nothing_is_finished_is_stuck():
    waits = {("fax", "v1"): 90.0}
    assert "is stuck: work waits for 90 s" in fax(oldest=waits, waiting=4)["note"]
    assert fax(oldest=waits, waiting=4, flows={("fax", "v1"): Flow(rate=1.0)})["state"] == "busy"
