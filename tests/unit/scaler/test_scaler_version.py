"""A version's controller: deadlines count only the time in which somebody looked."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headway.control.fleet import Fleet
from headway.control.records import Scale, ServiceRecord, VersionRecord
from headway.scaler import health
from headway.scaler.drivers.driver import RunningWorker
from headway.scaler.plan import Plan, plan
from headway.scaler.version import DesiredVersion, ObservedVersion, VersionController

from .test_scaler_observe import beat

NOBODY = cast("Any", None)
DESIRED = DesiredVersion(
    ServiceRecord(service="app", scale=Scale(min=1, max=9, down_after=10.0)),
    VersionRecord(service="app", version="v1", app="app:app", root="/", weight=100),
    None,
)


@pytest.fixture
def controller() -> VersionController:
    """One that has no driver and no server: it observes and decides."""
    return VersionController(
        ("app", "v1"),
        driver=NOBODY,
        control=NOBODY,
        fleet=Fleet(),
        epoch=lambda: 1,
        launch=NOBODY,
        wake=lambda: None,
        spawn=NOBODY,
        preparing=asyncio.Semaphore(1),
    )


def observed(now: float, workers: int = 1) -> ObservedVersion:
    running = [RunningWorker(f"w{n}", "app", "v1", 0.0) for n in range(workers)]
    return ObservedVersion(now, running, {}, (), 0, 0)


def test_a_worker_that_drains_has_its_grace_although_nobody_looked_for_a_while(controller):
    controller._fleet.hear(beat(10, worker="w0", state="draining", grace_s=30))
    [member] = controller.observe(observed(0))
    assert (member.draining_since, member.grace) == (0, 30)
    assert plan(0, [member], 130, grace=30).kill, "with somebody looking it would be overdue"
    controller.not_watched(130)
    [member] = controller.observe(observed(131))
    assert not plan(0, [member], 131, grace=30).kill
    assert plan(0, [member], 165, grace=30).kill


def test_fewer_are_wanted_only_after_somebody_has_looked_for_the_whole_window(controller):
    def decided(now: float) -> int:
        seen = observed(now, workers=3)
        for n in range(3):
            controller._fleet.hear(beat(now, worker=f"w{n}", uptime_s=now + 1))
        return controller.decide(DESIRED, seen, controller.observe(seen), 0.5).desired

    assert {decided(now) for now in range(6)} == {3}
    controller.not_watched(60)
    assert {decided(now) for now in range(66, 76)} == {3}
    assert decided(77) == 1


def test_an_outdated_worker_is_replaced_once_its_successor_serves_and_does_not_count_as_dead(controller):
    old = RunningWorker("w0", "app", "v1", 0.0, revision="r1")
    controller._fleet.hear(beat(10, worker="w0"))
    sick = {"w0": health.outdated("r1", "r2")}
    [member] = controller.observe(ObservedVersion(0, [old], sick, (), 0, 0))
    assert plan(1, [member], 0, grace=30) == Plan(start=1)
    assert not controller._sick
    new = RunningWorker("w1", "app", "v1", 0.0, revision="r2")
    controller._fleet.hear(beat(10, worker="w1"))
    members = controller.observe(ObservedVersion(1, [old, new], sick, (), 0, 0))
    assert plan(1, members, 1, grace=30) == Plan(drain=(("w0", "its code was edited"),))


def test_deaths_of_an_earlier_revision_do_not_delay_the_next_one(controller):
    controller._edited("r1")
    for _ in range(9):
        controller._died(100.0, "exit code 1", ())
    assert controller._restarts.verdict(100.0).retry_at > 100.0
    controller._edited("r1")
    assert controller._restarts.verdict(100.0).retry_at > 100.0
    controller._edited("r2")
    assert controller._restarts.verdict(100.0).retry_at <= 100.0
