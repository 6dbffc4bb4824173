"""The process driver: the contract of all drivers, and what is its own: zygotes, logs, the lifeline."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from headway.bus.client.bus import Bus
from headway.scaler.drivers.driver import Launch, RunningWorker
from headway.scaler.drivers.priority import NICENESS
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.driver import ProcessDriver
from headway.scaler.drivers.process.follow import Follower
from headway.scaler.errors import Fenced, LaunchFailed
from tests.support.driver_contract import DEADLINE, DriverContract, Place, ended, launch_of
from tests.support.scaling import zygotes


class ProcessPlace(Place):
    """A run directory."""

    def __init__(self, bus: Bus, launch: Launch, run) -> None:
        super().__init__(bus, launch)
        self.run = run
        self.opened: list[ProcessDriver] = []

    def driver(self) -> ProcessDriver:
        self.opened.append(ProcessDriver(self.run))
        return self.opened[-1]

    async def kill(self, running: RunningWorker) -> None:
        os.kill(running.pid, signal.SIGKILL)


@pytest.fixture
async def place(nats_broker, tmp_path):
    """A launch, and drivers on one run directory; whatever was started is dead afterwards."""
    run = tmp_path / "run"
    async with await nats_broker.connect("operator") as bus:
        made = ProcessPlace(bus, await launch_of(nats_broker, tmp_path), run)
        yield made
        for one in made.opened:
            await one.close()
    for pid in [one.pid for one in rundir.workers(run) if rundir.alive(one)] + zygotes(run):
        os.kill(pid, signal.SIGKILL)


class TestProcessDriver(DriverContract):
    """The contract, kept by processes."""


async def test_nothing_is_left_of_a_worker_that_ended(place, until):
    one = place.driver()
    await one.spawn(place.launch, "w1", fence=1)
    await one.stop("w1", fence=1)
    assert (await ended(one)).worker == "w1"
    await until(lambda: not list(place.run.glob("w1.*")))


async def test_a_version_whose_directory_is_missing_is_refused(place):
    with pytest.raises(LaunchFailed, match="cannot work in /nowhere"):
        await place.driver().prepare(replace(place.launch, root="/nowhere"))


async def test_workers_outlive_their_zygote_and_the_next_one_is_forked_from_a_new(place):
    one = place.driver()
    await one.spawn(place.launch, "w1", fence=1)
    [zygote] = zygotes(place.run)
    os.kill(zygote, signal.SIGKILL)
    await place.serves("w1")
    await one.spawn(place.launch, "w2", fence=1)
    await place.serves("w2")
    assert {w.worker for w in await one.list()} == {"w1", "w2"}
    await one.stop("w1", fence=1)
    end = await ended(one)
    assert (end.worker, end.code) == ("w1", None), "nobody reaped it, so nobody knows"


async def test_two_drivers_at_once_make_one_zygote(place, until):
    one, two = place.driver(), place.driver()
    await asyncio.gather(one.prepare(place.launch), two.prepare(place.launch))
    await until(lambda: len(zygotes(place.run)) == 1)  # the other one has seen the lock and goes


async def test_what_workers_write_is_passed_on_to_their_last_line(place, until):
    lines = []
    one = place.driver()
    following = asyncio.ensure_future(Follower(place.run, lambda label, line: lines.append((label, line))).follow())
    await one.spawn(place.launch, "w1", fence=1)
    await until(lambda: any("serves as w1" in line for _, line in lines))
    await one.stop("w1", fence=1)
    await until(lambda: any("has stopped as w1" in line for _, line in lines))
    following.cancel()
    assert {label for label, _ in lines} == {"app-v1"}


async def test_two_that_watch_are_both_told_how_a_worker_ended(place):
    one, two = place.driver(), place.driver()
    await one.spawn(replace(place.launch, config={"die": True}), "w1", fence=1)
    await two.list()
    ends = await asyncio.gather(ended(one), ended(two))
    assert [end.code for end in ends] == [1, 1]
    assert all(any("no line to the telephone company" in line for line in end.stderr) for end in ends)


async def test_when_the_lifeline_is_cut_all_drain_and_nobody_is_left(place, monkeypatch, until):
    ours, theirs = os.pipe()  # the zygote's end sees EOF when ours is closed
    os.set_inheritable(ours, True)
    monkeypatch.setenv("HEADWAY_LIFELINE", str(ours))
    one = place.driver()
    await one.spawn(place.launch, "w1", fence=1)
    assert zygotes(place.run)
    os.close(theirs)
    assert (await ended(one)).worker == "w1"
    await until(lambda: not zygotes(place.run), DEADLINE)
    os.close(ours)


async def test_zygotes_of_launches_that_are_no_longer_kept_end_without_a_trace_unless_they_have_workers(place, until):
    one = place.driver()
    others = [replace(place.launch, version=f"v{n}") for n in range(2, 5)]
    for launch in others:
        await one.prepare(launch)
    await one.spawn(others[0], "busy", fence=1)
    assert len(zygotes(place.run)) == 3

    async def kept(count: int) -> bool:
        await one.keep([others[1]], fence=1)
        return len(zygotes(place.run)) == count == len(rundir.launches(place.run))

    await until(lambda: kept(2))
    assert [found.worker for found in await one.list()] == ["busy"]
    await one.stop("busy", fence=1)
    await until(lambda: kept(1))
    files = {path.name for path in place.run.iterdir() if path.name != rundir.FENCE}
    id_ = rundir.launch_id(others[1])
    assert files <= {f"{id_}.lock", f"{id_}.log", f"{id_}.sock"}


async def test_a_former_leader_ends_no_zygote(place):
    one = place.driver()
    await one.prepare(place.launch)
    await one.lead(2)
    with pytest.raises(Fenced):
        await one.keep([], fence=1)
    assert len(zygotes(place.run)) == 1


async def test_a_version_that_comes_back_gets_a_zygote_again(place, until):
    one = place.driver()
    await one.prepare(place.launch)

    async def gone() -> bool:
        await one.keep([], fence=1)
        return not zygotes(place.run)

    await until(gone)
    await one.spawn(place.launch, "w1", fence=1)
    assert [found.worker for found in await one.list()] == ["w1"]


async def test_a_worker_of_low_priority_yields_the_processor_also_across_sessions(place, until):
    one = place.driver()
    high = await one.spawn(place.launch, "high", fence=1)
    low = await one.spawn(replace(place.launch, priority="low"), "low", fence=1)
    await until(lambda: os.getpriority(os.PRIO_PROCESS, low.pid) == NICENESS["low"])
    assert os.getpriority(os.PRIO_PROCESS, high.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    if (group := Path(f"/proc/{low.pid}/autogroup")).exists():
        assert group.read_text().split()[-1] == str(NICENESS["low"])  # noqa: ASYNC240
