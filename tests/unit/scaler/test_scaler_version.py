"""A version's controller: deadlines count only the time in which somebody looked."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headway.control.fleet import Fleet
from headway.control.records import Scale, ServiceRecord, VersionRecord
from headway.scaler.drivers.driver import RunningWorker
from headway.scaler.plan import plan
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
