"""A rollout that is superseded: who keeps the traffic, and what becomes of the rest."""

from __future__ import annotations

import pytest

from headway.bus.worker.attempts import NONE
from headway.control.records import RolloutRecord
from headway.deployer.rollout.plan import DesiredVersion, RolloutFacts, Route, TakeOver, Verify, fleet, plan
from headway.deployer.rollout.requests import superseded
from headway.deployer.rollout.waiting import waits

NOW = 1_000.0
SPLIT = {"v1": 50, "v2": 50}
HOME = {"v1": 100}


def record(phase="judge", **changes) -> RolloutRecord:
    usual = {"service": "fax", "version": "v2", "before": "v1", "steps": (50, 100), "workers": 3}
    return RolloutRecord(**{**usual, "phase": phase, **changes})


@pytest.mark.parametrize(
    ("was", "keeps", "loses"),
    [
        (record("verify"), "v1", ("v2",)),
        (record("warm-up"), "v1", ("v2",)),
        (record("shift"), "v1", ("v2",)),
        (record("judge"), "v1", ("v2",)),
        (record("shift", full=True, step=1), "v2", ("v1",)),
        (record("drain"), "v2", ("v1",)),
        (record("standby"), "v2", ("v1",)),
        (record("drain", abort="slow"), "v1", ("v2",)),
        (record("back"), "v1", ("v2",)),
        (record("take-over"), "v1", ("v2",)),
        (record("take-over", urgent=True), "v2", ("v1",)),
        (record("shift", urgent=True), "v1", ("v2",)),
        (record("standby", cluster="eu"), "v1", ("v2",)),
        (record("judge", before=None), "v2", ()),
        (record("warm-up", before=None), None, ("v2",)),
        (record("judge", version="v3", remains=("v2",)), "v1", ("v3", "v2")),
    ],
)
def test_the_version_keeps_the_traffic_that_had_all_of_it_or_would_get_it_back(was, keeps, loses):
    assert superseded(was) == (keeps, loses)


HOTFIX = record("verify", version="v3", remains=("v2",))


@pytest.mark.parametrize("route", [SPLIT, {"v2@eu": 5, "v1@eu": 95, "v1": 100}, None])
def test_the_traffic_goes_home_first_also_where_the_newer_version_is_refused_then(route):
    planned = plan(HOTFIX, RolloutFacts(settled=False, route=route), NOW)
    assert planned.effect == Route(HOME, proven=False)
    assert planned.first
    assert planned.then.phase == "verify"
    assert planned.fleet == {"v1": DesiredVersion("live", 3), "v2": DesiredVersion("retired")}
    refused = record("refused", version="v3", remains=("v2",))
    assert fleet(refused) == {"v1": DesiredVersion("live"), "v2": DesiredVersion("retired")}


def test_then_the_newer_version_goes_its_way():
    assert plan(HOTFIX, RolloutFacts(route=HOME), NOW).effect == Verify()


def test_what_is_queued_for_the_old_one_is_moved_while_the_new_one_waits_for_something():
    warming = record("warm-up", version="v3", remains=("v2",))
    known = RolloutFacts(left={"v2": 5}, busy={"v2": 1}, alive={"v2": 1})
    assert plan(warming, known, NOW).effect == TakeOver("v2", "v1")
    drained = record("standby", version="v3", remains=("v2",))
    assert plan(drained, known, NOW).effect == TakeOver("v2", "v3")


def test_what_its_workers_have_in_hand_is_left_to_them():
    warming = record("warm-up", version="v3", remains=("v2",))
    planned = plan(warming, RolloutFacts(left={"v2": 1}, busy={"v2": 1}, alive={"v2": 1}), NOW)
    assert planned.effect is None
    assert planned.then.remains == ("v2",)


def test_what_has_nothing_left_is_forgotten():
    warming = record("warm-up", version="v3", remains=("v2", "v0"))
    planned = plan(warming, RolloutFacts(left={"v0": 2}, alive={}), NOW)
    assert planned.then.remains == ("v0",)
    assert plan(warming, RolloutFacts(left=None), NOW).then.remains == ("v2", "v0")


def test_a_drain_moves_what_waits_for_a_retry_and_leaves_the_rest_to_the_old_version():
    assert plan(record("drain"), RolloutFacts(left={"v1": 3}), NOW).effect == TakeOver("v1", "v2", waiting=True)


FAILED = NONE.started().failed()


@pytest.mark.parametrize(
    ("kept", "seconds"),
    [
        (FAILED.waiting(600.0), 570.0),
        (FAILED.waiting(10.0), 0.0),
        (FAILED, 0.0),
        (FAILED.waiting(600.0).started(), 0.0),
        (FAILED.waiting(600.0).sentenced("error", "", ""), 0.0),
        (NONE, 0.0),
    ],
)
def test_a_message_waits_for_its_back_off_by_the_servers_clock(kept, seconds):
    assert waits(kept, "2026-11-29T10:00:00.123456789Z", "2026-11-29T10:00:20.123456789Z", passed=10.0) == seconds


def test_without_a_time_it_is_unknown_whether_it_waits():
    assert waits(FAILED.waiting(600.0), "", "2026-11-29T10:00:20Z") == 0.0
