"""A rollout from its beginning to its end, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from headway import NotStored
from headway.broker.errors import NotReady, RouteRefused
from headway.control.records import Criteria, Scale, ServiceRecord, VersionRecord
from headway.deployer.checks import parse
from headway.deployer.errors import NotProven, RolloutRuns
from headway.deployer.rollout import requests as ask
from tests.support.deployer_place import IDLE, Behaviour


async def test_a_good_version_gets_all_traffic_step_by_step_and_nothing_is_lost(place):
    await place.declare("v1", workers=2)
    await place.deployer()
    end = await place.load()
    await place.deploy("v2", steps=(5, 50, 100), bake=0.5, window=1.0)
    record = await place.reached("done", "rolled-back", "refused", timeout=60)
    await end()
    assert record.phase == "done", record
    await place.all_done()
    assert not place.failed
    assert not place.twice
    assert await place.route() == {"v2": 100}
    assert [step.after for step in record.history] == [
        "warm-up",
        "shift",
        "judge",
        "shift",
        "judge",
        "shift",
        "judge",
        "shift",
        "drain",
        "standby",
        "done",
    ]
    assert all(step.reason for step in record.history)


async def test_a_version_that_fails_is_sent_back_by_the_judge_with_the_numbers_it_decided_by(place):
    await place.declare("v1", workers=2)
    place.behaviour["v2"] = Behaviour(fails=0.3, jobs=False)
    place.behaviour["v1"].jobs = True
    await place.deployer()
    end = await place.load(calls=8, jobs=0)
    await place.deploy("v2", steps=(20, 100), bake=30.0, breaking=True, criteria=Criteria())
    record = await place.reached("done", "rolled-back", "refused")
    await end()
    assert record.phase == "rolled-back"
    assert "failed at v2" in record.abort
    assert "at v1 (0.0%)" in record.abort
    assert await place.route() == {"v1": 100}
    assert await place.bus_answers("app", "v1")
    versions = place.control.versions
    await place.until(lambda: versions["app", "v1"].weight == 100 and versions["app", "v2"].phase == "retired")


async def test_without_traffic_it_waits_and_says_what_is_missing_and_a_person_can_promote_it(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), window=0.0, criteria=Criteria())

    async def waits() -> bool:
        return "without traffic nothing can be shown" in (await place.record()).note

    await place.until(waits)
    record = await place.record()
    assert (record.phase, record.verdict.outcome) == ("judge", "waiting")
    await ask.promote(place.control, "app")

    async def last() -> bool:
        record = await place.record()
        return record.phase == "judge" and record.step == 1

    await place.until(last)
    assert await place.route() == {"v1": 5, "v2": 95}, "something to compare with is held back"
    await ask.promote(place.control, "app")
    record = await place.reached("done")
    assert [step.reason for step in record.history].count("promoted by hand") == 2
    assert await place.route() == {"v2": 100}


async def test_a_manual_rollout_waits_at_each_step(place):
    await place.declare("v1")
    await place.deployer()
    end = await place.load(calls=6, jobs=0)
    await place.deploy("v2", steps=(50, 100), manual=True)
    for step in (0, 1):

        async def waits(step=step) -> bool:
            record = await place.record()
            return record.step == step and "headway rollout promote app" in record.note

        await place.until(waits)
        await ask.promote(place.control, "app")
    await place.reached("done")
    await end()
    assert not place.failed


async def test_paused_it_goes_no_step_forward_and_resumed_it_goes_on(place):
    await place.declare("v1")
    await place.deployer()
    end = await place.load(calls=6, jobs=0)
    await place.deploy("v2", steps=(50, 100), bake=0.2)
    await place.reached("judge")
    await ask.pause(place.control, "app")

    async def paused() -> bool:
        return (await place.record()).note == "paused"

    await place.until(paused)
    await asyncio.sleep(2)
    assert (await place.record()).step == 0
    assert await place.route() == {"v1": 50, "v2": 50}
    await ask.resume(place.control, "app")
    await place.reached("done")
    await end()


async def test_a_deploy_during_a_rollout_is_refused_with_what_to_do(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(50, 100))
    await place.reached("judge")
    with pytest.raises(RolloutRuns) as caught:
        await place.deploy("v3")
    assert "a rollout of app v2 is under way (judge at 50%)" in str(caught.value)
    assert "headway rollout abort app" in str(caught.value)
    with pytest.raises(RolloutRuns):
        await ask.rollback(place.control, "app", "v0")
    await ask.abort(place.control, "app")
    await place.reached("rolled-back")
    await place.deploy("v3", steps=(100,), criteria=IDLE)
    record = await place.reached("done")
    assert [(past.version, past.outcome) for past in record.past] == [("v2", "rolled-back")]


async def test_the_next_version_can_be_deployed_while_the_last_but_one_is_kept_warm(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(100,), window=3600, criteria=IDLE)
    await place.reached("standby")
    assert (await place.control.get("version.app.v1", VersionRecord)).value.phase == "live", "it is warm"
    await place.deploy("v3", steps=(100,), window=3600, criteria=IDLE)

    async def replaced() -> bool:
        return (await place.record()).version == "v3" and (await place.record()).phase == "standby"

    await place.until(replaced)
    await place.until(lambda: place.control.versions["app", "v1"].phase == "retired")
    assert (await place.control.get("version.app.v2", VersionRecord)).value.phase == "live"


async def test_a_server_that_does_not_answer_for_a_moment_is_held_against_no_version(place):
    await place.declare("v1")
    away = [RouteRefused("no answer from b"), NotReady("no answer from b"), NotStored("no leader")]

    async def prove(_record, _new, _old) -> None:
        if away:
            raise away.pop()

    await place.deployer(prove=prove)
    end = await place.load()
    await place.deploy("v2", steps=(100,))
    record = await place.reached("done", "rolled-back", "refused")
    await end()
    assert record.phase == "done", record.abort
    assert not away


async def test_a_version_that_cannot_be_proven_never_runs(place):
    await place.declare("v1")

    async def refuse(_record, _new, _old) -> None:
        raise NotProven("the image is not what was built")

    await place.deployer(prove=refuse)
    await place.deploy("v2")
    record = await place.reached("refused")
    assert record.history[-1].reason == "the image is not what was built"
    assert place.workers.get("app v2") in (None, [])
    assert await place.route() == {"v1": 100}


async def test_a_version_that_does_not_answer_its_smoke_call_gets_no_traffic(place):
    await place.declare("v1")
    await place.deployer()
    end = await place.load(jobs=0)
    check = parse('call t.status {} -> {"version": "v3"}')
    await place.deploy("v2", checks=(check,))
    record = await place.reached("rolled-back")
    await end()
    assert record.abort == 'check call t.status: answered {"version":"v2"}, expected was {"version":"v3"}'
    assert set(place.answered) == {"v1"}
    assert not place.failed


async def test_a_check_that_comes_to_fail_sends_the_version_back(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), bake=60, checks=(parse('call t.status {} -> {"version": "v2"}'),))
    await place.reached("judge")
    place.behaviour["v2"].fails = 1.0
    record = await place.reached("rolled-back")
    assert "check call t.status" in record.abort


async def test_a_version_without_an_operation_that_callers_know_is_not_shifted_to(place):
    place.behaviour["v1"] = Behaviour(operations=("status", "cancel"))
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2")
    record = await place.reached("rolled-back")
    assert record.abort == "app v2 does not serve cancel"
    assert await place.route() == {"v1": 100}


async def test_a_service_can_be_released_for_the_first_time(place):
    await place.control.put("service.app", ServiceRecord(service="app", scale=Scale.fixed(1)))
    await place.deployer()
    await place.deploy("v1")
    record = await place.reached("done")
    assert record.before is None
    assert await place.route() == {"v1": 100}
    assert await place.bus_answers("app", "v1")


async def test_a_first_release_that_is_aborted_is_routed_nowhere(place):
    await place.control.put("service.app", ServiceRecord(service="app", scale=Scale.fixed(1)))
    await place.deployer()
    await place.deploy("v1", manual=True)
    await place.reached("judge")
    await ask.abort(place.control, "app")
    await place.reached("rolled-back")
    assert await place.route() == {}


async def test_two_services_are_rolled_out_at_once(place):
    await place.declare("v1")
    await place.declare("v1", name="other")
    await place.deployer()
    ends = [await place.load(calls=4, jobs=1), await place.load(calls=4, jobs=0, name="other")]
    for name in ("app", "other"):
        await place.deploy("v2", name, steps=(20, 60, 100), bake=0.2)
    for name in ("app", "other"):
        await place.reached("done", name=name)
    for end in ends:
        await end()
    await place.all_done()
    assert await place.broker.routes() == {"app": {"v2": 100}, "other": {"v2": 100}}
    assert not place.failed


async def test_weights_that_somebody_else_changed_are_set_again(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(50, 100))
    await place.reached("judge")
    await place.broker.change_route("app", {"v1": 90, "v2": 10})

    async def restored() -> bool:
        return await place.route() == {"v1": 50, "v2": 50}

    await place.until(restored)


async def test_of_a_region_alone_only_its_weights_are_shifted(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), cluster="eu")
    await place.reached("judge")
    assert await place.route() == {"v1": 100, "v1@eu": 50, "v2@eu": 50}
    await ask.promote(place.control, "app")

    async def nearly_all() -> bool:
        return await place.route() == {"v1": 100, "v1@eu": 5, "v2@eu": 95}

    await place.until(nearly_all)
    await place.reached("judge")
    await ask.promote(place.control, "app")
    record = await place.reached("standby")
    assert await place.route() == {"v1": 100, "v2@eu": 100}
    assert "v1 goes on elsewhere" in record.history[-1].reason
    v1 = await place.control.get("version.app.v1", VersionRecord)
    assert v1.value.weight == 100, "the weight where no cluster is named"
    await ask.rollback(place.control, "app")
    await place.reached("rolled-back")
    assert await place.route() == {"v1": 100}


async def test_of_two_deployers_one_acts_and_the_other_takes_over(place):
    await place.declare("v1")
    first, second = await place.deployer(), await place.deployer()
    await place.deploy("v2", steps=(50, 100), holdback=0)
    await place.reached("judge")
    assert [first.lease.held, second.lease.held].count(True) == 1
    leader, other = (first, second) if first.lease.held else (second, first)
    dead = next(one for one in place.deployers if one[0] is leader)
    place.deployers.remove(dead)
    await dead[3].nc.close()  # it falls silent; its lease is not given back
    await place.until(lambda: other.lease.held)
    await ask.promote(place.control, "app")
    assert (await place.reached("done")).number == 1
    dead[2].set()
    await asyncio.wait([dead[1]])
