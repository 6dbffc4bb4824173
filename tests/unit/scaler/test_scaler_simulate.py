from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headway.control.records import Scale
from headway.scaler.decide import NEW, decide
from headway.scaler.errors import BadTrace
from headway.scaler.observation import Observation
from headway.scaler.simulate import traces
from headway.scaler.simulate.headway import Headway
from headway.scaler.simulate.model import STEP, FleetView, Workload, arrivals, simulate
from headway.scaler.simulate.optimum import optimum
from headway.scaler.simulate.peers import Aws, Keda, Knative
from headway.scaler.simulate.report import as_json, compare
from headway.scaler.simulate.traces import Trace

SMALL = Workload(slots=2, service_s=0.5, within=2.0, maximum=8)
CALM = FleetView(
    at=0, desired=4, starting=0, serving=4, draining=0, waiting=0, in_hand=0, oldest_s=0, arrived=0, finished=0
)


@dataclass
class Scripted:
    """Wants what its script says, over and over."""

    wants: list[int]
    name: str = "scripted"
    interval: float = 0.5
    at: int = 0

    def decide(self, view):
        self.at += 1
        return self.wants[(self.at - 1) % len(self.wants)]


@dataclass
class Watched:
    """A contender, and what it saw and said."""

    inner: Headway
    said: list[tuple[FleetView, int]] = field(default_factory=list)
    name: str = "watched"
    interval: float = 0.5

    def decide(self, view):
        desired = self.inner.decide(view)
        self.said.append((view, desired))
        return desired


short = st.lists(st.integers(0, 40), min_size=1, max_size=12).map(lambda counts: Trace("any", tuple(counts)))

# The model


@given(short, st.lists(st.integers(1, 8), min_size=1, max_size=6))
def test_whatever_is_decided_every_job_is_finished_once_and_paid_for(trace, wants):
    found = simulate(trace, SMALL, Scripted(wants))
    jobs = sum(trace.arrivals)
    assert found.jobs == jobs
    assert found.slo_misses <= jobs
    assert found.worker_seconds >= jobs / SMALL.rate - 1e-6


def test_a_job_that_finds_a_free_worker_takes_its_service_time():
    found = simulate(Trace("one", (1,)), SMALL, Scripted([1]))
    assert found.max_lag_s == pytest.approx(SMALL.service_s)
    assert found.slo_misses == 0


def test_jobs_wait_in_turn_when_there_are_more_than_slots():
    load = replace(SMALL, maximum=1, within=0.7)
    found = simulate(Trace("burst", (20,)), load, Scripted([1]))
    assert found.max_lag_s > 4.0
    assert found.slo_misses > 10


def test_a_worker_that_is_to_go_finishes_what_it_has_in_hand():
    load = Workload(slots=1, service_s=5.0, minimum=0, maximum=1)
    found = simulate(Trace("one", (1, 0, 0)), load, Scripted([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    assert found.jobs == 1
    assert found.max_lag_s == pytest.approx(5.0)


def test_turns_are_counted_where_the_direction_changes():
    found = simulate(Trace("quiet", (0,) * 3), SMALL, Scripted([1, 2, 3, 2, 1, 4]))
    assert found.oscillations == 2


# Traces


def test_invented_traces_are_the_same_each_time_and_need_3_to_60_workers():
    for make in (traces.flash_crowd, traces.diurnal, traces.sawtooth):
        trace = make()
        assert make() == trace
        assert min(sum(trace.arrivals[at : at + 10]) / 10 for at in range(0, 1200, 10)) / Workload().rate > 2
        assert 48 < max(trace.arrivals) / Workload().rate < 80


def test_csv_and_json_lines_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("second,arrivals\n0,3\n2,5\n")
    (tmp_path / "b.csv").write_text("0,3\n2,5\n")
    (tmp_path / "c.jsonl").write_text('{"second": 0, "arrivals": 3}\n{"second": 2, "arrivals": 5}\n')
    assert {traces.read(tmp_path / name).arrivals for name in ("a.csv", "b.csv", "c.jsonl")} == {(3, 0, 5)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "second,arrivals\n0,3\n1,many\n"),
        ("t.csv", "0,3\n1,4\n2\n"),
        ("t.csv", "0,3\n1,4\n-1,4\n"),
        ("t.csv", "0,3\n1,4\n2,nan\n"),
        ("t.jsonl", '{"second": 0, "arrivals": 3}\n\n{"second": 1}\n'),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadTrace, match="line 3"):
        traces.read(tmp_path / name)


def test_a_trace_that_is_not_there_names_those_that_are():
    with pytest.raises(BadTrace) as caught:
        traces.load("nowhere.csv")
    assert "sawtooth" in str(caught.value.remedy)


# Peers, by hand


def test_keda_wants_a_worker_for_each_threshold_but_no_more_than_doubles_or_adds_four():
    def ask(**seen):
        return Keda(Workload(), 40, "keda").decide(replace(CALM, **seen))

    assert ask(waiting=240) == 6
    assert ask(waiting=4000) == 8
    assert ask(waiting=4000, desired=2) == 6
    assert ask(waiting=160, in_hand=12) == 4  # 7 % over: tolerated
    assert ask(waiting=160, in_hand=17) == 5  # 11 % over


def test_keda_goes_down_after_five_minutes_to_the_most_it_recommended_in_them():
    keda = Keda(Workload(), 40, "keda")
    said = [keda.decide(replace(CALM, at=at, waiting=160 if at == 0 else 80)) for at in range(0, 316, 15)]
    assert said == [4] * 20 + [2, 2]


def test_knative_panics_at_twice_what_is_ready_and_does_not_go_down_before_a_minute_has_passed():
    knative = Knative(Workload())
    calm = replace(CALM, serving=2, desired=2)
    said = [knative.decide(replace(calm, at=at, in_hand=28 if at < 6 else 0)) for at in range(71)]
    assert set(said[0:70:2]) == {10}  # 28 / (0.7 x 4)
    assert said[70] == 1  # half of what is ready


def test_knative_follows_the_mean_of_the_stable_window_otherwise():
    knative = Knative(Workload())
    said = [knative.decide(replace(CALM, at=at, in_hand=14)) for at in range(10)]
    assert said[0::2] == [5] * 5  # 14 / (0.7 x 4)


def test_aws_goes_out_after_three_minutes_above_the_target_in_proportion():
    aws = Aws(Workload())
    said = [aws.decide(replace(CALM, at=60 * at, waiting=240)) for at in range(3)]
    assert said == [4, 4, 6]  # 60 waiting each, 40 are the target


def test_aws_goes_in_after_fifteen_and_holds_without_data():
    aws = Aws(Workload())
    said = [aws.decide(replace(CALM, at=60 * at, serving=0 if at == 3 else 4)) for at in range(19)]
    assert said == [4] * 18 + [2]


# The optimum


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=2),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_the_optimum_of_the_fluid_is_what_trying_everything_finds(counts, minimum, extra, within):
    load = Workload(
        slots=1, service_s=STEP, within=within * STEP, minimum=minimum, maximum=max(1, minimum + extra), seed=5
    )
    trace = Trace("tiny", tuple(counts))
    found = optimum(trace, load)
    assume(found.slo_misses == 0)
    coming = arrivals(trace, load.seed)
    best = {0: 0}  # jobs done -> price so far
    arrived = due = 0
    for step in range(len(coming) + within):
        inside = step < len(coming)
        arrived += coming[step] if inside else 0
        due += coming[step - within + 1] if 0 <= step - within + 1 < len(coming) else 0
        after: dict[int, int] = {}
        for done, price in best.items():
            for more in range(load.maximum + 1):
                if due <= done + more <= arrived:
                    total = price + (max(minimum, more) if inside else more)
                    after[done + more] = min(total, after.get(done + more, total))
        best = after
    assert found.worker_seconds == pytest.approx(best[sum(counts)] * STEP)


@given(short, st.lists(st.integers(1, 8), min_size=1, max_size=6))
def test_no_schedule_misses_less_or_keeps_all_deadlines_for_less(trace, wants):
    found, bound = simulate(trace, SMALL, Scripted(wants)), optimum(trace, SMALL)
    assert found.slo_misses >= bound.slo_misses
    if found.slo_misses == bound.slo_misses:
        assert found.worker_seconds >= bound.worker_seconds - 1e-6


def test_what_the_maximum_cannot_do_is_no_miss_of_anyone():
    trace, load = Trace("flood", (200, 0, 0)), replace(SMALL, maximum=2)
    bound, most = optimum(trace, load), simulate(trace, load, Scripted([2]))
    assert 0 < bound.slo_misses <= most.slo_misses


# Our decisions, in the closed loop


@given(short, st.integers(0, 3), st.integers(3, 8))
def test_ours_stays_within_its_bounds_and_never_goes_to_zero_while_there_is_work(trace, minimum, maximum):
    load = replace(SMALL, minimum=minimum, maximum=maximum)
    watched = Watched(Headway(load))
    simulate(trace, load, watched)
    for view, desired in watched.said:
        assert minimum <= desired <= maximum
        assert desired or not (view.waiting or view.in_hand)


@given(st.integers(1, 30))
def test_ours_does_not_swing_on_steady_load(tenths):
    """Each half second brings the same, so that it is the decisions that would swing."""
    load, rate = Workload(), tenths * 8
    history, workers, waiting, said = NEW, 1, 0.0, []
    for tick in range(240):
        capacity = workers * load.rate
        offered = rate + waiting / 0.5
        finished = min(capacity, offered)
        waiting = max(0.0, waiting + (rate - finished) * 0.5)
        seen = Observation(
            at=tick / 2,
            workers=workers,
            pending=int(waiting),
            ack_pending=int(finished),
            arrivals=rate,
            finished=finished,
            service_s=load.service_s,
            work_cpu_s=load.work_cpu_s,
            in_hand=int(finished),
            slots=load.slots,
            cpu=finished * load.work_cpu_s,
        )
        decision = decide(Scale(max=80), seen, history)
        history, workers = decision.history, decision.desired
        said.append(workers)
    settled = said[120:]
    moves = [after - before for before, after in pairwise(settled) if after != before]
    assert not any(a * b < 0 for a, b in pairwise(moves))


@given(
    st.lists(
        st.tuples(st.sampled_from(["told", "unknown", "incomplete"]), st.integers(0, 300)), min_size=2, max_size=60
    )
)
def test_ours_starts_more_but_never_stops_any_on_what_it_does_not_know(seen):
    scale, history, before = Scale(max=20), NEW, None
    for tick, (kind, waiting) in enumerate(seen):
        observation = Observation(
            at=tick * 2.0,
            workers=before or 1,
            pending=None if kind == "unknown" else waiting,
            ack_pending=None if kind == "unknown" else 0,
            arrivals=None if kind == "unknown" else waiting / 2,
            service_s=1.0,
            work_cpu_s=0.01,
            slots=4,
            cpu=0.1,
            complete=kind != "incomplete",
        )
        decision = decide(scale, observation, history)
        if before is not None and kind != "told":
            assert decision.desired >= before
        history, before = decision.history, decision.desired


@pytest.mark.parametrize("name", list(traces.NAMED))
def test_on_every_trace_ours_misses_nothing_for_at_most_a_quarter_more_than_the_optimum(name):
    found = as_json(compare(traces.load(name), others=False))
    ours = found["contenders"]["headway"]
    assert ours["slo_misses"] == 0
    assert ours["ratio"] <= 1.25
    assert json.loads(json.dumps(found)) == found
