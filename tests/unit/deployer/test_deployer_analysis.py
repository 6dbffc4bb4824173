"""The analysis of a release: what stops it, what passes a step, and that every verdict tells its numbers."""

from __future__ import annotations

import math
import os

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.replay import release, to_decision
from bench.judge.traffic import World, constant, outage, second
from headway.control.records import Criteria, Margin, RolloutRecord
from headway.deployer.analysis.analysis import SHARES, Analysis
from headway.deployer.analysis.verdict import at_least, at_most, judge
from headway.deployer.evidence import Checked, Count, Side, Slice, Tally

V1, V2 = Side("v1"), Side("v2")
WEIGHTS = (0.05, 0.25, 0.5, 0.95)
# As with examples of properties: few of them while one works, all of them in CI.
RUNS = 300 if os.environ.get("CI") == "true" else 12

counts = st.builds(
    lambda tries, share: Count(tries=tries, errors=int(tries * share)), st.integers(0, 300), st.floats(0, 1)
)
slices = st.lists(st.builds(Slice, counts, counts), max_size=12)


def analysed(parts, criteria=None, weights=WEIGHTS) -> Analysis:
    made = Analysis(criteria or Criteria(), weights)
    for part in parts:
        made.add(part)
    return made


def judged(parts, canary=V2, baseline: Side | None = V1, checks=(), criteria=None):
    return judge(analysed(parts, criteria), canary, baseline, checks, "fax")


def traffic(world: World, weight: float, seconds: int, seed: int = 1) -> list[Slice]:
    rng = np.random.default_rng(seed)
    return [second(rng, world, at, weight) for at in range(seconds)]


def test_the_budget_is_spent_once():
    assert sum(SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3])
def test_an_equal_canary_is_stopped_in_at_most_one_of_a_hundred_releases(rate):
    rng = np.random.default_rng(4)
    world = World(good=constant(rate), bad=constant(rate))
    stopped = sum(release(rng, world, patience=30).how == "stopped" for _ in range(RUNS))
    assert stopped <= max(2, 0.02 * RUNS)


def test_an_equal_canary_is_not_stopped_by_an_outage_that_both_have_while_its_weight_grows():
    rng = np.random.default_rng(5)
    world = World(good=outage(0.01, 0.6, 25, 60), bad=outage(0.01, 0.6, 25, 60))
    stopped = sum(release(rng, world, patience=20).how == "stopped" for _ in range(RUNS))
    assert stopped <= max(2, 0.02 * RUNS)


@pytest.mark.parametrize(("weight", "median", "most"), [(0.05, 60, 250), (0.5, 135, 400)])
def test_twice_the_failures_are_found_soon(weight, median, most):
    rng = np.random.default_rng(6)
    world = World(good=constant(0.15), bad=constant(0.34))
    took = sorted(to_decision(rng, world, weight, 1_000) or 9_999 for _ in range(RUNS))
    assert took[len(took) // 2] <= median * 1.15
    assert took[int(0.97 * len(took))] <= most


def test_doubled_failures_do_not_reach_all_users():
    rng = np.random.default_rng(7)
    world = World(good=constant(0.05), bad=constant(0.1))
    assert all(release(rng, world).how == "stopped" for _ in range(10))


def test_a_good_release_without_failures_is_through_within_a_minute_at_fifty_requests_a_second():
    rng = np.random.default_rng(8)
    ends = [release(rng, World(latency=0.02), (20, 50, 100), 5.0) for _ in range(5)]
    assert [end.how for end in ends] == ["released"] * 5
    assert sorted(end.seconds for end in ends)[2] <= 60


def test_one_operation_that_breaks_is_named():
    world = World(
        rps=200, operations={"status": 0.9, "send": 0.1}, broken={"send": 0.5}, good=constant(0.05), bad=constant(0.05)
    )
    verdict = judged(traffic(world, 0.25, 60))
    assert verdict.outcome == "fail"
    assert any(reason.startswith("send: ") and "failed at v2" in reason for reason in verdict.reasons)


def test_one_tenant_that_breaks_is_named_and_the_release_waits_for_a_person():
    world = World(
        rps=200, tenants={"acme": 0.95, "globex": 0.05}, broken={"globex": 0.6}, good=constant(0.1), bad=constant(0.1)
    )
    verdict = judged(traffic(world, 0.25, 60))
    assert verdict.outcome == "waiting"
    assert any(reason.startswith("tenant globex: ") for reason in verdict.reasons)
    assert verdict.reasons[-1].startswith("without tenant globex the evidence does not stand")


def test_a_release_that_breaks_for_two_of_many_tenants_is_taken_back():
    tenants = {"acme": 0.6, "globex": 0.2, "initech": 0.2}
    world = World(
        rps=200, tenants=tenants, broken={"globex": 0.6, "initech": 0.6}, good=constant(0.1), bad=constant(0.1)
    )
    assert judged(traffic(world, 0.25, 60)).outcome == "fail"


def rejecting(ours: int, theirs: int, by: str, tenants: tuple[str, ...] = ("acme", "globex")) -> Slice:
    """A second in which both versions reject requests of one tenant."""
    tally = {name: Tally(100, 0) for name in tenants}
    tries = 100 * len(tenants)
    return Slice(
        Count(tries=tries, rejected=ours, tenants=tally, rejections={by: ours}),
        Count(tries=tries, rejected=theirs, tenants=tally, rejections={by: theirs}),
    )


def test_mistakes_of_callers_do_not_count_against_a_release():
    assert judged([rejecting(50, 50, "globex")] * 60).outcome != "fail"


def test_one_tenant_whose_requests_only_the_new_version_rejects_does_not_take_it_back():
    verdict = judged([rejecting(50, 0, "globex")] * 30)
    assert verdict.outcome == "waiting"
    assert "were rejected" in verdict.reasons[0]
    assert verdict.reasons[-1].startswith("without tenant globex")


def test_a_release_that_rejects_what_the_old_version_takes_of_several_tenants_is_taken_back():
    parts = [rejecting(50, 0, name) for name in ("acme", "globex") for _ in range(15)]
    assert judged(parts).outcome == "fail"


def test_a_tenant_that_is_alone_decides():
    assert judged([rejecting(50, 0, "globex", ("globex",))] * 30).outcome == "fail"


def test_a_slow_rare_operation_is_not_hidden_by_a_quick_frequent_one():
    world = World(rps=200, latency=0.02, operations={"status": 0.95, "report": 0.05}, slow={"report": 5.0})
    verdict = judged(traffic(world, 0.25, 90))
    assert verdict.outcome == "fail"
    assert any("of report take up to" in reason for reason in verdict.reasons)


def test_a_percentile_that_is_half_as_long_again_is_found_by_a_thousand_requests():
    rng = np.random.default_rng(9)
    assert all(to_decision(rng, World(latency=0.1, slower=1.5), 0.5, 1_000) for _ in range(10))


@given(slices, st.sampled_from([Criteria(), Criteria(requests=1)]))
def test_it_never_passes_on_too_few_requests_and_always_has_a_reason(made, criteria):
    verdict = judged(made, criteria=criteria)
    least = min(sum(s.canary.tries for s in made), sum(s.baseline.tries for s in made))
    assert verdict.reasons
    if least < criteria.requests:
        assert verdict.outcome != "pass"


@given(slices)
def test_a_pass_is_a_proof(made):
    found = analysed(made)
    decision = found.decide()
    if decision.outcome == "pass":
        assert decision.shown == 1.0
        assert decision.against < 1.0
    assert 0.0 <= decision.against <= 1.0
    assert 0.0 <= decision.shown <= 1.0


@given(slices)
def test_it_does_not_matter_who_asks_or_how_often(made):
    found = analysed(made)
    assert judge(found, V2, V1) == judge(found, V2, V1)


@given(slices, slices)
def test_a_successor_goes_on_with_the_evidence_that_was_noted(before, after):
    first = analysed(before)
    first.begin(1)
    second_ = Analysis(Criteria(), WEIGHTS)
    second_.restore(orjson.loads(orjson.dumps(first.state())))
    for part in after:
        first.add(part)
        second_.add(part)
    one, other = first.decide(), second_.decide()
    assert other.against == pytest.approx(one.against, abs=0.02)
    assert other.shown == pytest.approx(one.shown, abs=0.02)
    assert second_.totals("errors") == first.totals("errors")


def test_evidence_of_another_release_is_not_gone_on_with():
    with pytest.raises(ValueError, match="another rollout"):
        Analysis(Criteria(), (0.5, 0.95)).restore(analysed([]).state())


def test_what_is_noted_stays_small_however_long_it_goes_on():
    world = World(rps=100, latency=0.02, operations={f"op{n}": 1 / 24 for n in range(24)})
    made = analysed(traffic(world, 0.25, 200))
    assert len(orjson.dumps(made.state())) < 60_000


def test_a_crash_loop_and_a_check_that_is_bad_decide_at_once():
    looping = Side("v2", health="crash-loop", deaths=5, last_exit="exit code 1")
    verdict = judged([], canary=looping)
    assert verdict.outcome == "fail"
    assert verdict.reasons == ("v2 is in a crash loop: 5 workers died, the last one with exit code 1",)
    assert judged([], canary=Side("v2", deaths=3)).outcome == "fail"
    assert judged([], canary=Side("v2", deaths=3), baseline=Side("v1", deaths=2)).outcome == "waiting"
    checked = judged([], checks=[Checked("fax.status", ok=False, said="answered 'failed', not 'sent'")])
    assert checked.outcome == "fail"
    assert "check fax.status: answered 'failed', not 'sent'" in checked.reasons


def test_a_check_of_which_nothing_is_known_neither_passes_nor_stops():
    good = traffic(World(), 0.5, 60)
    assert judged(good).outcome == "pass"
    unknown = judged(good, checks=[Checked("query up", ok=None, said="has no value for it")])
    assert unknown.outcome == "waiting"
    assert unknown.reasons[-1] == "nothing is known of check query up yet"


def test_dead_letters_refusals_saturation_and_leaks_are_seen():
    calm = Count(tries=500, seconds=20, cpu_s=4, lags=[0.001] * 20, memory=60e6)
    for worse, word in (
        (Count(tries=500, dead=40), "were given up"),
        (Count(tries=500, shed=80), "were refused under load"),
        (Count(tries=500, lags=[0.4] * 20), "event loops of v2 run 400 ms late"),
        (Count(tries=500, seconds=20, cpu_s=19.5), "use 98% of a core"),
    ):
        verdict = judged([Slice(worse, calm), Slice(worse, calm)])
        assert verdict.outcome == "fail"
        assert any(word in reason for reason in verdict.reasons)
    leaking = judged([Slice(Count(memory=60e6 + 4e6 * n), calm) for n in range(40)])
    assert leaking.outcome == "fail"
    assert "goes on growing" in leaking.reasons[0]
    large = judged([Slice(Count(memory=300e6), calm) for _ in range(40)])
    assert large.outcome == "waiting", "large is no leak"


def test_a_verdict_tells_its_numbers_and_what_would_decide():
    bad = judged(traffic(World(good=constant(0.01), bad=constant(0.3)), 0.5, 20))
    assert bad.outcome == "fail"
    assert "failed at v2 (" in bad.reasons[0] or "of " in bad.reasons[0]
    assert "100 : 1 in all stops a release" in bad.reasons[0]
    young = judged(traffic(World(), 0.25, 5))
    assert young.outcome == "waiting"
    assert "more requests of v2 are needed to show that it is as good" in young.reasons[-1]
    assert young.needed > 0
    assert young.within == pytest.approx(young.needed / 12.5, rel=0.5)
    good = judged(traffic(World(), 0.25, 60))
    assert good.outcome == "pass"
    assert "95% certain to fail at most" in good.reasons[-1]


def test_a_service_without_traffic_says_so_at_once():
    silent = judged([Slice(), Slice(), Slice()])
    assert silent.outcome == "waiting"
    (said,) = silent.reasons
    assert said.startswith("neither v2 nor v1 has had a request for 3 s: without traffic nothing can be shown")
    assert said.endswith("`headway rollout promote fax` goes on without")
    one_sided = judged([Slice(Count(), Count(tries=10))] * 4)
    assert "v2 has had no requests for 4 s" in one_sided.reasons[-1]


def test_what_was_only_seen_at_one_side_shows_nothing():
    verdict = judged([Slice(Count(tries=100, errors=100), Count())] * 3)
    assert verdict.outcome == "waiting"


def test_names_beyond_the_bound_are_not_looked_at_and_take_no_memory():
    many = {f"t{n}": Tally(10, 0) for n in range(200)}
    made = analysed([Slice(Count(tries=2000, tenants=many), Count(tries=2000, tenants=many))])
    assert len(made.state()["tenants"]) == 24


def test_without_a_baseline_it_says_so():
    verdict = judged([], baseline=None)
    assert verdict.outcome == "pass"
    assert "no other version has traffic" in verdict.reasons[0]
    (alone,) = verdict.measured
    assert (alone.version, alone.tries, alone.p95) == ("v2", 0, ())


def test_a_verdict_carries_what_was_measured_of_both_sides_with_bounds():
    canary, baseline = judged(traffic(World(rps=100, latency=0.02, slower=1.2), 0.5, 20)).measured
    assert (canary.version, baseline.version) == ("v2", "v1")
    for side in (canary, baseline):
        (p95,) = side.p95
        assert p95.kind == "rpc"
        assert p95.low <= p95.at <= p95.high
    assert canary.p95[0].at > baseline.p95[0].at


@given(st.lists(st.floats(0.0002, 60), min_size=1, max_size=300))
def test_the_bounds_of_a_percentile_hold_what_they_bound(samples):
    from headway.bus.telemetry.histogram import BUCKETS

    found = np.bincount(np.searchsorted(BUCKETS, samples), minlength=len(BUCKETS) + 1).tolist()
    low, high = at_least(found, 0.05), at_most(found, 0.05)
    if low is not None and high is not None:
        assert low <= np.quantile(samples, 0.95, method="inverted_cdf") <= high


def test_records_that_were_written_before_can_be_read():
    old = {
        "service": "fax", "version": "v2", "before": "v1", "steps": [5, 100], "phase": "judge", "step": 1,
        "criteria": {"alpha": 0.01, "requests": 50, "errors": 0.005, "latency": 1.25},
        "verdict": {"outcome": "pass", "reasons": ["as good"], "measured": []},
    }  # fmt: skip
    record = RolloutRecord.model_validate(old)
    assert record.weight == 100
    assert record.criteria.margin == Margin()
    assert record.verdict.evidence == ()
    assert math.isclose(record.watched, 0.0)
