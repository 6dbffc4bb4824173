"""A version reads what is really queued before it has traffic, and the one before reads what it would write."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from headway.bus.worker import validation
from tests.support.deployer_place import IDLE, Behaviour, Place


class Low(BaseModel):
    n: Annotated[int, Field(lt=5)]


class Forbidding(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = 0


class Richer(BaseModel):
    n: int = 0
    note: str = "none"


async def queued(place: Place, old: Behaviour, new: Behaviour) -> None:
    """Jobs are in the queue of v1 when v2 is rolled out. Schemas are not compared here."""
    place.behaviour["v1"], place.behaviour["v2"] = old, new
    await place.declare("v1")
    await place.deployer()
    old.takes = 1.5
    for n in range(30):
        await place.bus.submit("app", "send", {"n": n}, tenant=f"t{n % 9}")
        place.submitted.add(n)


async def test_a_version_whose_code_refuses_what_is_queued_gets_no_traffic(place):
    await queued(place, Behaviour(), Behaviour(asks=Low))
    await place.deploy("v2", steps=(100,), criteria=IDLE)
    record = await place.reached("rolled-back", "done")
    assert record.phase == "rolled-back"
    assert record.abort.startswith("app v2 does not fit what is stored: send: v2 refuses what v1 takes (queued): n: ")
    assert "judge" not in [step.after for step in record.history]
    await place.all_done()
    assert {version for versions in place.done.values() for version in versions} == {"v1"}


async def test_a_version_that_writes_what_the_one_before_refuses_could_not_be_rolled_back(place):
    await queued(place, Behaviour(asks=Forbidding), Behaviour(asks=Richer))
    await place.deploy("v2", steps=(100,), criteria=IDLE)
    record = await place.reached("rolled-back", "done")
    assert record.phase == "rolled-back"
    assert "v1 would refuse what v2 writes of it (queued): note: " in record.abort


async def test_who_deploys_a_breaking_version_is_let(place):
    await queued(place, Behaviour(), Behaviour(asks=Low))
    place.submitted.clear()
    await place.deploy("v2", steps=(100,), breaking=True, window=3600, criteria=IDLE)
    assert (await place.reached("standby", "rolled-back")).phase == "standby"


async def test_what_both_versions_take_passes(place):
    await queued(place, Behaviour(), Behaviour(asks=Richer))
    await place.deploy("v2", steps=(100,), window=3600, criteria=IDLE)
    assert (await place.reached("standby", "rolled-back")).phase == "standby"
    await place.all_done()


async def test_only_control_may_have_payloads_validated(place):
    await place.declare("v1")
    sent = {validation.OPERATION: "send"}
    subject = f"$SRV.{validation.VERB}.app"
    for role, named, answered in (
        ("control", {}, True),
        ("worker", {"service": "app"}, False),
        ("client", {"tenant": "t1"}, False),
    ):
        async with await place.broker.connect(role, **named) as bus:
            answers = await bus.nc.subscribe(inbox := bus.nc.new_inbox())
            await bus.nc.publish(subject, b"{}", reply=inbox, headers=sent)
            try:
                assert (await answers.next_msg(timeout=5 if answered else 0.5)).data == b'{"n":0}'
                assert answered, role
            except TimeoutError:
                assert not answered, role
