"""Going back: the weight first, then what is queued. Nothing is lost or stranded, whatever the bad version does."""

from __future__ import annotations

import asyncio
import time

import pytest

from headway.bus.client.ids import MessageIds
from headway.bus.nats import streams
from headway.bus.wire import headers
from headway.control.records import ScaleRecord
from headway.control.store import scale_key
from headway.deployer.errors import NoRollout, UnknownVersion
from headway.deployer.rollout import requests as ask
from headway.deployer.rollout.takeover import Takeover, moved, target_subject
from tests.support.deployer_place import IDLE, Behaviour


async def halfway(place, behaviour: Behaviour, **options) -> None:
    """v2 has half of the traffic."""
    await place.declare("v1", workers=2)
    place.behaviour["v2"] = behaviour
    await place.deployer()
    await place.deploy("v2", steps=(50, 100), bake=600, **options)
    await place.reached("judge")


async def queue(place, count: int) -> None:
    """Submit jobs over all lanes, half of which go to either version."""
    numbers = [next(place.numbers) for _ in range(count)]
    await asyncio.gather(
        *(place.bus.submit("app", "send", {"n": n}, tenant=f"t{n % 40}", key=f"job-{n}") for n in numbers)
    )
    place.submitted.update(numbers)


async def left(place, version: str) -> int:
    infos = [await place.bus.js.consumer_info("JOBS_app", streams.lane_consumer(version, n)) for n in range(16)]
    return sum(info.num_pending + info.num_ack_pending for info in infos)


async def test_jobs_queued_for_a_slow_version_are_taken_over_and_each_is_done_once(place):
    await halfway(place, Behaviour(takes=0.4, grace=1.0))
    await queue(place, 400)
    await place.until(lambda: sum("v2" in versions for versions in place.began.values()) > 4)
    assert await left(place, "v2") > 50
    await ask.rollback(place.control, "app")
    record = await place.reached("rolled-back")
    await place.all_done()
    assert record.took_over > 50
    assert not place.twice
    assert await left(place, "v2") == 0
    assert await place.route() == {"v1": 100}


async def test_jobs_in_hand_get_their_grace_and_those_that_do_not_end_go_to_the_good_version(place):
    await halfway(place, Behaviour(takes=60, grace=0.3))
    await queue(place, 60)
    await place.until(lambda: any("v2" in versions for versions in place.began.values()))
    await ask.rollback(place.control, "app")
    await place.reached("rolled-back")
    await place.all_done()
    assert {version for versions in place.done.values() for version in versions} == {"v1"}
    assert not place.twice


async def test_a_version_that_hangs_is_rolled_back(place):
    """Its workers neither finish nor drain, and hold what they have until they are gone."""
    await halfway(place, Behaviour(takes=600, grace=600))
    await queue(place, 60)
    await place.until(lambda: any("v2" in versions for versions in place.began.values()))
    place.follows = False  # the one who would stop them is slow, too
    await ask.rollback(place.control, "app")
    await place.until(lambda: place.route_is({"v1": 100}))
    await place.kill("v2")
    await place.reached("rolled-back", timeout=60)
    await place.all_done()
    assert not place.twice


async def test_a_version_that_is_gone_is_rolled_back_by_itself_and_its_queue_is_taken_over(place):
    await halfway(place, Behaviour(takes=0.2))
    place.follows = False
    await place.kill("v2")
    await queue(place, 100)
    record = await place.reached("rolled-back", timeout=60)
    assert record.abort == "no worker of v2 has served for 5 s"
    await place.all_done()
    assert not place.twice


async def test_a_crash_loop_that_the_scaler_reports_rolls_the_release_back_by_itself(place):
    await halfway(place, Behaviour())
    looping = ScaleRecord(service="app", version="v2", health="crash-loop", deaths=5, last_exit="exit code 1")
    await place.control.put(scale_key("app", "v2"), looping)
    record = await place.reached("rolled-back")
    assert record.abort == "v2 is in a crash loop: 5 workers died, the last one with exit code 1"


async def test_a_version_that_never_starts_is_given_up_before_it_gets_traffic(place):
    await place.declare("v1")
    place.behaviour["v2"] = Behaviour(starts=False)
    await place.deployer()
    await place.deploy("v2")
    await place.reached("warm-up")
    looping = ScaleRecord(service="app", version="v2", health="crash-loop", deaths=5, last_exit="exit code 1")
    await place.control.put(scale_key("app", "v2"), looping)
    await place.reached("rolled-back")
    assert await place.route() == {"v1": 100}


async def test_in_the_rollback_window_the_old_version_is_warm_and_has_the_traffic_at_once(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(100,), window=3600, criteria=IDLE)
    await place.reached("standby")
    end = await place.load()
    await ask.rollback(place.control, "app")
    await place.reached("rolled-back")
    await end()
    await place.all_done()
    assert not place.failed
    assert not place.twice
    assert await place.route() == {"v1": 100}


async def released_under_load(place) -> None:
    """v2 has all traffic, v1 is warm, and calls go on."""
    await place.declare("v1", workers=2)
    await place.deployer()
    await place.load(calls=8, jobs=0)
    await place.deploy("v2", steps=(50, 100), window=3600)
    await place.reached("standby")


async def test_an_outage_that_both_versions_have_takes_no_release_back_after_its_last_step(place):
    await released_under_load(place)
    for version in ("v1", "v2"):
        place.behaviour[version].fails = 0.6
    again = await place.reached("shift", "judge", "rolled-back")
    assert again.rechecks == 1, again
    record = await place.reached("standby", "rolled-back", timeout=60)
    await place.until(lambda: place.route_is({"v2": 100}))
    assert (record.phase, record.abort) == ("standby", None)
    assert "gets a part of it, to compare" in " ".join(step.reason for step in record.history)


async def test_a_version_that_alone_fails_after_its_last_step_is_taken_back(place):
    await released_under_load(place)
    place.behaviour["v2"].fails = 0.6
    record = await place.reached("rolled-back", timeout=60)
    assert record.rechecks == 1
    assert "failed at v2" in record.abort
    assert await place.route() == {"v1": 100}


async def test_a_service_goes_back_to_any_version_that_is_kept(place):
    await place.declare("v1")
    await place.deployer()
    for version in ("v2", "v3"):
        await place.deploy(version, steps=(100,), window=0.0, criteria=IDLE)
        await place.reached("done")
    place.behaviour["v3"].takes = 0.3
    await queue(place, 100)
    await ask.rollback(place.control, "app", to="v1")
    record = await place.reached("done", "rolled-back")
    assert (record.phase, record.version, record.before) == ("done", "v1", "v3")
    await place.all_done()
    assert not place.twice
    assert await place.route() == {"v1": 100}
    assert [past.version for past in record.past] == ["v2", "v3"]


async def test_what_cannot_be_rolled_back_is_refused_with_what_to_do(place):
    await place.declare("v1")
    for ask_for, kind, why in (
        (None, NoRollout, "name a version to go back to with --to"),
        ("v1", NoRollout, "has all traffic already"),
        ("v0", UnknownVersion, "nothing is known of app v0"),
    ):
        with pytest.raises(kind) as caught:
            await ask.rollback(place.control, "app", ask_for)
        assert why in str(caught.value)
    for asked in (ask.abort, ask.pause, ask.resume, ask.promote):
        with pytest.raises(NoRollout, match="was never rolled out"):
            await asked(place.control, "app")


async def test_jobs_that_turn_up_later_in_the_queue_of_a_version_that_is_gone_are_taken_over_too(place):
    await place.declare("v1")
    await place.deployer()
    await place.deploy("v2", steps=(100,), window=0.0, criteria=IDLE)
    await place.reached("done")
    await place.until(lambda: not place.workers.get("app v1") and not place.leaving)
    stray = {headers.MESSAGE_ID: "stray"}
    await place.bus.store("job.app.v1.3.t1.send", b'{"n": 4711}', stray)
    await place.until(lambda: 4711 in place.done)
    assert place.done[4711] == ["v2"]


async def test_a_takeover_that_is_repeated_stores_nothing_twice(place):
    """As after a death between storing a message anew and acknowledging the old one."""
    await place.declare("v1")
    place.follows = False
    await place.kill("v1")
    js = place.bus.js
    for version in ("v1", "v2"):
        for lane in range(16):
            await streams.ensure_consumer(js, "JOBS_app", streams.lane("app", version, lane, 1))
    await place.broker.change_route("app", {"v2": 100})
    await queue(place, 50)
    consumer = await js.pull_subscribe_bind(consumer=streams.lane_consumer("v2", 0), stream="JOBS_app")
    held = await consumer.fetch(50, timeout=2)
    for message in held:  # as by one that dies then
        tenant, sequence = message.subject.split(".")[4], message.metadata.sequence.stream
        sent = moved(message.headers, "JOBS_app", sequence, tenant, place.bus.ids)
        await place.bus.store(target_subject(message.subject, "v1"), message.data, sent)
    assert held
    lanes = dict.fromkeys(range(16))
    until = time.monotonic() + 20
    while await left(place, "v2") and time.monotonic() < until:
        await Takeover(place.bus, "app", "v2", "v1").run(lanes, 2)
    assert await left(place, "v2") == 0
    assert (await js.stream_info("JOBS_app")).state.messages == 50


async def test_a_job_keeps_its_id_and_its_headers_when_it_is_moved():
    ids = MessageIds(b"secret")
    sent = {"Nats-Msg-Id": "acme.send.k", "traceparent": "00-1", "Nats-Expected-Stream": "x", "Nats-Trace-Dest": "y"}
    first = moved(sent, "JOBS_app", 7, "acme", ids)
    assert first.keys() == {"Nats-Msg-Id", "traceparent", "Headway-Id", "Headway-Proof"}
    assert (first["Headway-Id"], first["traceparent"]) == ("acme.send.k", "00-1")
    assert moved(first, "JOBS_app", 9, "acme", ids)["Headway-Id"] == "acme.send.k"
    assert moved(None, "JOBS_app", 9, "acme", ids)["Headway-Id"] == "JOBS_app.9"


async def test_nobody_can_guess_the_message_id_of_a_moved_job_or_forge_its_former_id():
    ids, others = MessageIds(b"secret"), MessageIds(b"another")
    first = moved({"Nats-Msg-Id": "k"}, "JOBS_app", 7, "acme", ids)
    assert first["Nats-Msg-Id"] != moved({"Nats-Msg-Id": "k"}, "JOBS_app", 7, "acme", others)["Nats-Msg-Id"]
    forged = {"Nats-Msg-Id": "k", "Headway-Id": "globex.send.1", "Headway-Proof": first["Headway-Proof"]}
    assert moved(forged, "JOBS_app", 8, "acme", ids)["Headway-Id"] == "k"
