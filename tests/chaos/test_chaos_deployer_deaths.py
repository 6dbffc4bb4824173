"""The deployer is killed right before and right after the effect of each transition: the next one finishes its work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from headway.broker import queues
from headway.broker.broker import Broker
from headway.deployer.rollout import requests as ask
from tests.support.deployer_place import IDLE, Behaviour, Place

SCRIPT = Path(__file__).parents[1] / "support" / "deployer_that_dies.py"


@pytest.fixture
async def place(tmp_path, until):
    """As elsewhere, on a server whose keys another process finds."""
    async with (
        Broker.start(tmp_path / "data", port=0) as broker,
        await broker.connect("operator") as bus,
        queues.served(bus),  # as the scaler does it
        Place.beside(broker, bus, until) as made,
    ):
        yield made


@pytest.fixture
async def dying(place, tmp_path):
    """`await dying("shift", "before")`: a deployer that kills itself then."""
    started: list[asyncio.subprocess.Process] = []

    async def start(phase: str, moment: str, number: str = "KILL") -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            place.broker.url,
            str(tmp_path / "data"),
            phase,
            moment,
            number,
            stdin=asyncio.subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def dead(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("phase", ["verify", "warm-up", "shift", "judge", "drain", "standby"])
async def test_a_release_is_finished_by_the_next_deployer(place, dying, phase, moment):
    await place.declare("v1")
    process = await dying(phase, moment)
    end = await place.load(calls=4, jobs=1)
    await place.deploy("v2", steps=(50, 100), bake=0.2, window=0.2)
    await dead(process)
    await place.deployer()
    record = await place.reached("done", "rolled-back", "refused")
    await end()
    await place.all_done()
    assert record.phase == "done", record.abort
    assert await place.route() == {"v2": 100}
    assert not place.failed
    assert not place.twice
    phases = [step.after for step in record.history]
    # The last shift moves the control share that stayed with v1 through the last step.
    assert phases == ["warm-up", "shift", "judge", "shift", "judge", "shift", "drain", "standby", "done"]
    await place.until(lambda: place.control.versions["app", "v1"].phase == "retired")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("phase", ["back", "take-over"])
async def test_a_rollback_is_finished_by_the_next_deployer(place, dying, phase, moment):
    await place.declare("v1")
    place.behaviour["v2"] = Behaviour(takes=0.1)
    process = await dying(phase, moment)
    end = await place.load(calls=4, jobs=3)
    await place.deploy("v2", steps=(50, 100), bake=600)
    await place.reached("judge")
    await place.until(lambda: any("v2" in versions for versions in place.began.values()))
    await ask.rollback(place.control, "app")
    await dead(process)
    await place.deployer()
    await place.reached("rolled-back")
    await end()
    await place.all_done()
    assert await place.route() == {"v1": 100}
    assert not place.failed
    assert not place.twice


@pytest.mark.parametrize("phase", ["warm-up", "shift", "take-over"])
async def test_going_back_to_an_older_version_is_finished_by_the_next_deployer(place, dying, phase):
    await place.declare("v1")
    first = await place.deployer()
    await place.deploy("v2", steps=(100,), window=0.0, criteria=IDLE)
    await place.reached("done")
    for made, task, stop, _ in place.deployers:
        if made is first:
            stop.set()
            await task
    process = await dying(phase, "after")
    await ask.rollback(place.control, "app", to="v1")
    await dead(process)
    await place.deployer()
    record = await place.reached("done", "rolled-back")
    assert (record.phase, record.version) == ("done", "v1")
    assert await place.route() == {"v1": 100}


async def test_one_that_was_asleep_while_another_took_over_does_no_harm(place, dying):
    await place.declare("v1")
    process = await dying("shift", "before", "STOP")
    await place.deploy("v2", steps=(50, 100), bake=0.0, window=0.0)
    await place.reached("shift")
    await place.until(lambda: stopped(process.pid))
    await place.deployer()
    await place.reached("judge")
    await ask.abort(place.control, "app")
    await place.reached("rolled-back")
    before = await place.record()
    os.kill(process.pid, signal.SIGCONT)
    await asyncio.sleep(2)  # time enough to do what it was about to
    assert await place.route() == {"v1": 100}
    assert await place.record() == before
    assert process.returncode is None, "it waits for its turn"


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
