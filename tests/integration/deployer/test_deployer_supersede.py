"""A hotfix supersedes a rollout at any moment; what waits for a retry moves on."""

from __future__ import annotations

import asyncio

import pytest

from headway.deployer.errors import RolloutRuns
from headway.deployer.rollout import requests as ask
from tests.support.deployer_place import IDLE, Behaviour, Place


async def failing(place: Place, version: str, count: int) -> None:
    """Queue jobs that fail at a version, and wait until all of those that went there wait for a retry."""
    numbers = [next(place.numbers) for _ in range(count)]
    await asyncio.gather(*(place.bus.submit("app", "send", {"n": n}, tenant=f"t{n % 9}") for n in numbers))
    place.submitted.update(numbers)
    await place.until(lambda: set(numbers) <= place.began.keys())
    await asyncio.sleep(0.3)
    assert any(version in place.began[n] for n in numbers)


async def left(place: Place, version: str) -> int:
    infos = [await place.bus.js.consumer_info("JOBS_app", f"{version}-{lane}") for lane in range(16)]
    return sum(info.num_pending + info.num_ack_pending for info in infos)


async def test_a_long_back_off_holds_no_drain_and_its_job_runs_at_the_new_version(place):
    place.behaviour["v1"] = Behaviour(backoff=(600.0,))
    await place.declare("v1")
    place.behaviour["v1"].fails = 1.0
    await place.deployer()
    await failing(place, "v1", 30)
    await place.deploy("v2", steps=(100,), window=3600, criteria=IDLE)
    record = await place.reached("standby")
    await place.all_done()
    assert {version for versions in place.done.values() for version in versions} == {"v2"}
    assert not place.twice
    assert record.took_over == 30
    assert await left(place, "v1") == 0


async def test_a_rollback_waits_for_no_back_off(place):
    await place.declare("v1", workers=2)
    place.behaviour["v2"] = Behaviour(fails=1.0, backoff=(600.0,))
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), bake=600)
    await place.reached("judge")
    await failing(place, "v2", 30)
    await ask.abort(place.control, "app")
    await place.reached("rolled-back")
    await place.all_done()
    assert not place.twice


async def test_a_hotfix_supersedes_a_release_that_is_judged_and_nothing_is_lost(place):
    await place.declare("v1", workers=2)
    place.behaviour["v2"] = Behaviour(takes=0.2, grace=1.0)
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), bake=600)
    await place.reached("judge")
    end = await place.load(calls=2, jobs=4)
    await place.until(lambda: any("v2" in versions for versions in place.began.values()))
    with pytest.raises(RolloutRuns, match="--supersede"):
        await place.deploy("v3", steps=(100,))
    await place.deploy("v3", steps=(100,), supersede=True, criteria=IDLE)
    record = await place.reached("done", "rolled-back", "refused", timeout=60)
    await end()
    assert (record.phase, record.version, record.before) == ("done", "v3", "v1"), record
    assert [(one.version, one.outcome) for one in record.past] == [("v2", "superseded")]
    await place.all_done()
    assert not place.failed
    assert not place.twice
    assert await place.route() == {"v3": 100}
    assert await left(place, "v2") == 0


async def test_a_drain_that_a_long_job_holds_is_superseded_and_the_job_ends_where_it_is(place):
    place.behaviour["v1"] = Behaviour(grace=60)
    await place.declare("v1")
    await place.deployer()
    place.behaviour["v1"].takes = 6.0
    number = next(place.numbers)
    await place.bus.submit("app", "send", {"n": number}, tenant="t1")
    place.submitted.add(number)
    await place.until(lambda: number in place.began)
    place.behaviour["v1"].takes = 0.0
    await place.deploy("v2", steps=(100,), window=3600, criteria=IDLE)
    await place.reached("drain")
    await place.deploy("v3", steps=(100,), window=3600, supersede=True, criteria=IDLE)
    record = await place.reached("standby")
    assert (record.version, record.before) == ("v3", "v2")
    await place.all_done()
    assert place.done[number] == ["v1"]
    assert await place.route() == {"v3": 100}


async def test_a_newer_version_that_is_refused_leaves_the_traffic_with_the_one_before(place):
    async def never(record, _new, _old) -> None:
        if record.version == "v3":
            raise RolloutRuns("it cannot be run")

    await place.declare("v1")
    await place.deployer(prove=never)
    await place.deploy("v2", steps=(50, 100), bake=600)
    await place.reached("judge")
    await place.deploy("v3", steps=(50, 100), supersede=True)
    await place.reached("refused")
    assert await place.route() == {"v1": 100}
    await place.until(lambda: not place.workers.get("app v2") and not place.leaving)
    assert await place.bus_answers("app", "v1")
