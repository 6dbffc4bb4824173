"""The plan: what follows what, that going back comes first, and that nothing that is done twice does harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.broker import routes
from headway.control.records import OVER, Asked, Criteria, Measured, RolloutRecord, Verdict
from headway.deployer.rollout.plan import (
    GONE_AFTER,
    LEFT_AFTER,
    READY_WITHIN,
    DesiredVersion,
    RolloutFacts,
    Route,
    Smoke,
    TakeOver,
    Verify,
    because,
    fleet,
    move,
    needed,
    plan,
    weights,
)

NOW = 1_000.0
PHASES = ("verify", "warm-up", "shift", "judge", "drain", "standby", "back", "take-over", *sorted(OVER))
GOOD = Verdict(outcome="pass", reasons=("as good",))
BAD = Verdict(outcome="fail", reasons=("90 of 100 failed", "it is slow"))
ENOUGH = {"v1": 4, "v2": 4}


def record(phase="judge", **changes) -> RolloutRecord:
    usual = {"service": "fax", "version": "v2", "before": "v1", "workers": 4, "since": NOW - 10, "bake": 5.0}
    return RolloutRecord(**{**usual, "phase": phase, **changes})


records = st.builds(
    record,
    st.sampled_from(PHASES),
    before=st.sampled_from(["v1", None]),
    steps=st.sampled_from([(100,), (5, 100), (5, 25, 50, 100)]),
    step=st.just(0),
    workers=st.integers(1, 20),
    manual=st.booleans(),
    paused=st.booleans(),
    promoted=st.integers(0, 2),
    abort=st.sampled_from([None, "by hand"]),
    cluster=st.sampled_from([None, "eu"]),
    note=st.sampled_from(["", "no"]),
    since=st.floats(0, NOW),
    holdback=st.sampled_from([0, 5]),
    full=st.booleans(),
)
counts = st.dictionaries(st.sampled_from(["v1", "v2"]), st.integers(0, 20))
facts = st.builds(
    RolloutFacts,
    settled=st.booleans(),
    route=st.sampled_from([None, {"v1": 100}, {"v2": 100}, {"v1": 95, "v2": 5}]),
    serving=counts,
    missing=st.dictionaries(st.sampled_from(["v1", "v2"]), st.floats(0, 60)),
    alive=counts,
    busy=counts,
    left=st.none() | counts,
    looping=st.dictionaries(st.sampled_from(["v1", "v2"]), st.just("exit code 1")),
    verdict=st.sampled_from([None, GOOD, BAD, Verdict(outcome="waiting", reasons=("too few",))]),
    judged_for=st.floats(0, 100),
    watched=st.floats(0, 200),
)


@given(records, facts)
def test_it_is_the_same_plan_whoever_makes_it_and_every_transition_has_its_reason(made, known):
    planned = plan(made, known, NOW)
    assert planned == plan(made, known, NOW)
    for then in filter(None, (planned.then, planned.otherwise)):
        if then.phase != made.phase:
            last = then.history[-1]
            assert last.after == then.phase
            assert last.reason or planned.otherwise is then
        assert RolloutRecord.model_validate(then.model_dump()) == then


@given(records, facts)
def test_whatever_is_routed_can_be_routed(made, known):
    effect = plan(made, known, NOW).effect
    if isinstance(effect, Route) and effect.weights is not None:
        checked = routes.check({"fax": effect.weights})
        assert routes.compile(checked)
        assert all(checked["fax"].values()), "a zero is never said"


@given(records, facts)
def test_the_old_version_keeps_its_capacity_until_nobody_may_want_it_back(made, known):
    planned = plan(made, known, NOW)
    if made.before is not None and not made.over and planned.then.phase not in OVER and made.phase != "verify":
        assert planned.fleet["v1"] == DesiredVersion("live", made.workers)


@given(records, facts)
def test_who_asks_to_go_back_goes_back_next_whatever_else_there_is(made, known):
    asked = made.model_copy(update={"abort": "by hand"})
    planned = plan(asked, known, NOW)
    if made.phase not in {"back", "take-over", *OVER}:
        assert planned.effect == Route({"v1": 100} if made.before else None, proven=False)
        assert planned.first, "the weight goes back before anything else is seen to"
        assert planned.then.phase == "take-over"


@given(records, facts)
def test_nothing_passes_the_judge_without_a_verdict_or_a_person(made, known):
    planned = plan(made, known, NOW)
    if made.phase == "judge" and planned.then.phase in {"shift", "drain", "standby"}:
        assert made.promoted > made.step or (known.verdict == GOOD and known.judged_for >= made.bake)


@given(records, facts)
def test_paused_it_goes_no_step_forward(made, known):
    if made.paused and made.phase in {"shift", "judge"}:
        planned = plan(made, known, NOW)
        assert planned.then.phase in {made.phase, "take-over"}


@pytest.mark.parametrize(
    ("before", "known", "after", "effect"),
    [
        (record("verify"), RolloutFacts(serving={"v1": 3}), "warm-up", Verify()),
        (record("warm-up"), RolloutFacts(serving=ENOUGH), "shift", Smoke()),
        (record("shift"), RolloutFacts(serving=ENOUGH), "judge", Route({"v1": 95, "v2": 5}, proven=True)),
        (
            record("shift", urgent=True, steps=(100,)),
            RolloutFacts(serving=ENOUGH),
            "take-over",
            Route({"v2": 100}, proven=True),
        ),
        (record("judge"), RolloutFacts(verdict=GOOD, judged_for=5), "shift", None),
        (record("judge", step=3), RolloutFacts(verdict=GOOD, judged_for=5), "drain", None),
        (record("drain", step=3), RolloutFacts(left={"v1": 0}), "standby", None),
        (record("judge", step=3, holdback=5), RolloutFacts(verdict=GOOD, judged_for=5), "shift", None),
        (
            record("shift", step=3, holdback=5, full=True),
            RolloutFacts(serving=ENOUGH),
            "drain",
            Route({"v2": 100}, proven=True),
        ),
        (record("standby", window=5.0), RolloutFacts(watched=5.0), "done", None),
        (record("take-over"), RolloutFacts(left={}), "rolled-back", None),
        (record("take-over", urgent=True, steps=(100,)), RolloutFacts(left={}), "done", None),
        (record("back"), RolloutFacts(), "take-over", Route({"v1": 100}, proven=False)),
    ],
)
def test_what_follows_what(before, known, after, effect):
    planned = plan(before, known, NOW)
    assert (planned.then.phase, planned.effect) == (after, effect)


@pytest.mark.parametrize(
    ("before", "known", "note"),
    [
        (record("verify"), RolloutFacts(settled=False), "listening"),
        (record("warm-up"), RolloutFacts(serving={"v2": 0}), "0 of 1 worker of v2"),
        (record("shift", step=2), RolloutFacts(serving={"v2": 1}), "1 of 2 workers of v2"),
        (record("judge"), RolloutFacts(verdict=GOOD, judged_for=4.9), "judging"),
        (
            record("judge"),
            RolloutFacts(verdict=Verdict(outcome="waiting", reasons=("too few",)), judged_for=99),
            "too few",
        ),
        (record("judge", manual=True), RolloutFacts(verdict=GOOD, judged_for=5), "headway rollout promote fax"),
        (record("drain"), RolloutFacts(left={"v1": 3}), "3 jobs left"),
        (record("drain"), RolloutFacts(left={}, busy={"v1": 2}), "2 in hand"),
        (record("drain"), RolloutFacts(left=None), "0 jobs left"),
        (record("standby"), RolloutFacts(), "v1 is kept warm"),
        (record("take-over"), RolloutFacts(left={"v2": 7}), "7 jobs left"),
        (record("take-over"), RolloutFacts(left={}, alive={"v2": 1}), "1 worker of v2 stopping"),
    ],
)
def test_what_it_waits_for_it_says(before, known, note):
    planned = plan(before, known, NOW)
    assert planned.then.phase == before.phase
    assert note in planned.then.note


@pytest.mark.parametrize(
    ("before", "known", "why"),
    [
        (record("judge"), RolloutFacts(verdict=BAD), "90 of 100 failed; it is slow"),
        (record("judge"), RolloutFacts(looping={"v2": "5 workers died"}), "v2 is in a crash loop: 5 workers died"),
        (record("warm-up"), RolloutFacts(looping={"v2": "5 workers died"}), "crash loop"),
        (record("standby"), RolloutFacts(looping={"v2": "5 workers died"}), "crash loop"),
        (record("drain"), RolloutFacts(missing={"v2": GONE_AFTER}), "no worker of v2 has served for 5 s"),
    ],
)
def test_what_sends_it_back_by_itself(before, known, why):
    planned = plan(before, known, NOW)
    assert planned.then.phase == "take-over"
    assert planned.then.abort is not None
    assert why in planned.then.abort
    assert [step.after for step in planned.then.history] == ["back", "take-over"]


def test_what_takes_too_long_goes_back():
    late = {"serving": ENOUGH, "watched": READY_WITHIN}
    assert plan(record("warm-up"), RolloutFacts(watched=READY_WITHIN), NOW).then.phase == "back"
    assert plan(record("warm-up", note="no answer from n2"), RolloutFacts(**late), NOW).then.phase == "back"
    assert plan(record("shift", note="no answer from n2"), RolloutFacts(**late), NOW).then.phase == "back"
    assert plan(record("shift"), RolloutFacts(**late), NOW).then.phase == "judge", "it was paused, say"


@pytest.mark.parametrize("phase", ["warm-up", "shift", "standby"])
def test_time_in_which_no_deployer_watched_does_not_count(phase):
    made = record(phase, since=NOW - 100_000, note="no answer from n2")
    assert plan(made, RolloutFacts(watched=1.0), NOW).then.phase == phase


@pytest.mark.parametrize("phase", ["verify", "warm-up", "shift", "judge", "drain", "standby"])
def test_a_pause_holds_in_every_phase_in_which_it_is_accepted(phase):
    known = RolloutFacts(serving=ENOUGH, left={}, verdict=GOOD, judged_for=99, watched=10**6)
    made = plan(record(phase, paused=True), known, NOW)
    assert (made.then.phase, made.effect, made.then.note) == (phase, None, "paused")


WAITING = Verdict(outcome="waiting", reasons=("about 320 more requests of v2 are needed",))


@pytest.mark.parametrize(("thin", "after"), [("hold", "judge"), ("promote", "shift"), ("back", "back")])
def test_a_step_that_shows_nothing_in_time_does_as_the_user_wishes(thin, after):
    criteria = Criteria(thin=thin, patience=60)
    early = plan(record("judge", criteria=criteria), RolloutFacts(verdict=WAITING, judged_for=59), NOW)
    assert (early.then.phase, early.then.note) == ("judge", WAITING.reasons[0])
    late = plan(record("judge", criteria=criteria), RolloutFacts(verdict=WAITING, judged_for=60), NOW)
    assert late.then.phase == after
    assert "nothing was shown in 60 s" in (late.then.note or late.then.history[-1].reason)


def test_a_share_is_held_back_at_the_last_step_alone_and_never_more_than_the_step_before_leaves():
    assert [record(step=step, holdback=5).weight for step in range(4)] == [5, 25, 50, 95]
    assert record(step=3, holdback=5, full=True).weight == 100
    assert record(step=1, steps=(98, 100), holdback=5).weight == 99
    assert record(step=1, steps=(99, 100), holdback=5).weight == 100
    assert record(before=None, steps=(100,), holdback=5).weight == 100
    assert record(step=3).weight == 100, "records that were written before know of none"


@pytest.mark.parametrize("phase", ["drain", "standby"])
def test_a_breach_after_the_last_step_is_compared_with_the_old_version_while_that_is_warm(phase):
    released = record(phase, steps=(20, 100), step=1, full=True, promoted=2, holdback=5)
    planned = plan(released, RolloutFacts(verdict=BAD, left={}, serving=ENOUGH), NOW)
    assert planned.then.phase == "judge"
    assert planned.effect == Route({"v1": 50, "v2": 50}, proven=True)
    assert (planned.then.rechecks, planned.then.full, planned.then.promoted) == (1, False, 1)
    assert "to compare" in planned.then.history[0].reason
    assert plan(planned.then, RolloutFacts(verdict=BAD, serving=ENOUGH), NOW).then.phase == "take-over"


@pytest.mark.parametrize("phase", ["drain", "standby"])
def test_without_an_old_version_to_compare_with_a_breach_takes_it_back(phase):
    planned = plan(record(phase), RolloutFacts(verdict=BAD, left={}, serving={"v2": 4}), NOW)
    assert planned.then.phase == "take-over"
    assert planned.effect == Route({"v1": 100}, proven=False)


def test_silence_means_nothing_while_nothing_can_be_heard():
    deaf = RolloutFacts(settled=False, missing={"v2": 99}, left={})
    assert plan(record("drain"), deaf, NOW).then.phase == "drain"
    assert plan(record("take-over"), deaf, NOW).then.phase == "take-over"


def test_an_old_version_that_cannot_drain_is_drained_by_the_new_one():
    known = RolloutFacts(left={"v1": 3}, missing={"v1": LEFT_AFTER})
    assert plan(record("drain"), known, NOW).effect == TakeOver("v1", "v2")


def test_jobs_that_turn_up_when_all_is_over_are_taken_over():
    known = RolloutFacts(left={"v1": 3, "v2": 2}, route={"v2": 100})
    assert plan(record("done"), known, NOW).effect == TakeOver("v1", "v2")
    known = RolloutFacts(left={"v2": 3}, route={"v1": 100})
    assert plan(record("rolled-back"), known, NOW).effect == TakeOver("v2", "v1")
    assert plan(record("rolled-back"), RolloutFacts(left={"v2": 3}, route={"v2": 100}), NOW).effect is None, (
        "it serves again"
    )
    assert plan(record("refused"), known, NOW).effect is None


def test_capacity_is_grown_to_the_share_of_each_step():
    steps = [needed(record(workers=10, step=step)) for step in range(4)]
    assert steps == [1, 3, 5, 10]


def test_a_cluster_alone_is_shifted_and_the_others_stay():
    made = record(cluster="eu")
    assert weights(made, 25) == {"v1": 100, "v2@eu": 25, "v1@eu": 75}
    assert weights(made, 100) == {"v1": 100, "v2@eu": 100}
    at_the_end = plan(record(cluster="eu", step=3), RolloutFacts(verdict=GOOD, judged_for=9), NOW)
    assert at_the_end.then.phase == "standby"
    assert plan(at_the_end.then, RolloutFacts(), NOW + 10**6).then.phase == "standby", "v1 goes on elsewhere"


def test_versions_of_earlier_rollouts_are_not_kept_warm_for_ever():
    past = {"number": 1, "version": "v1", "before": "v0", "outcome": "standby", "began": 0, "ended": 1, "reason": ""}
    made = RolloutRecord.model_validate({**record("warm-up").model_dump(), "past": [past]})
    assert fleet(made)["v0"] == DesiredVersion("retired")
    assert fleet(made)["v1"].phase == "live"


def test_a_reason_that_is_found_out_while_trying_is_kept():
    made = because(move(record("warm-up"), "back", NOW, ""), "check call acme.status: answered 1, expected was 2")
    assert made.abort == made.history[-1].reason == "check call acme.status: answered 1, expected was 2"
    assert because(move(record("verify"), "refused", NOW, ""), "no").abort is None


@pytest.mark.parametrize("steps", [(), (5, 5, 100), (50, 20, 100), (0, 100), (5, 50)])
def test_steps_that_make_no_sense_are_refused(steps):
    with pytest.raises(ValueError, match="do not ascend"):
        record(steps=steps)


def test_a_version_cannot_follow_itself():
    with pytest.raises(ValueError, match="cannot replace itself"):
        record(before="v2")


def test_a_step_keeps_its_share_and_what_it_was_judged_by():
    measured = (Measured(version="v2", tries=90, errors=90),)
    verdict = BAD.model_copy(update={"measured": measured})
    made = plan(record("judge"), RolloutFacts(verdict=verdict), NOW)
    (back,) = (one for one in made.then.history if one.after == "back")
    assert (back.measured, back.weight) == (measured, record("judge").weight)
    assert made.then.verdict == verdict


def test_who_promotes_is_named():
    asked = (Asked(at=1.0, what="promote", by="ada"),)
    made = plan(record("judge", promoted=1, asked=asked), RolloutFacts(verdict=GOOD), NOW)
    assert made.then.history[-1].reason == "promoted by ada"
