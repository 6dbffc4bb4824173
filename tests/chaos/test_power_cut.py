"""Power cuts. A disk is a file with a file system in it: what was never forced to disk is not in a copy of that file,
just as it would be gone when the machine loses power, while a killed process loses nothing of it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import nats.errors
import pytest

from headway.broker import testing
from headway.broker.broker import Broker
from headway.broker.server import Server
from headway.bus import Service
from headway.bus.client.bus import Bus
from headway.bus.worker import queues
from tests.zones import disks
from tests.zones.unavailable import Unavailable

JOBS = 300


@pytest.fixture
def disk(tmp_path) -> Path:
    """An empty disk, as a file."""
    try:
        return disks.make(tmp_path / "disk")
    except Unavailable as why:
        pytest.skip(str(why))


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """A disk that is mounted; skips where that is not allowed."""
    with ExitStack() as stack:
        try:
            place = stack.enter_context(disks.mounted(image))
        except Unavailable as why:
            pytest.skip(str(why))
        yield place


def cut(disk: Path, servers: Iterable[Server | None]) -> Path:
    """What is on a disk when the power goes: what was forced there, and what the system has written by chance."""
    there = [server for server in servers if server is not None and server.pid is not None]
    for server in there:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
    after = disk.with_name("after")
    assert disks.run("cp", "--sparse=always", disk, after)
    for server in there:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    return after


def fax() -> Service:
    service = Service("fax")

    @service.job("send")
    async def send(_key: str) -> None:
        pass

    return service


async def prepare(broker: Broker, bus: Bus) -> None:
    """All there is before the work begins is on disk."""
    await broker.set_routes({"fax": {"v1": 100}})
    await queues.declare(bus.js, fax(), "v1")
    os.sync()


async def submit(bus: Bus) -> None:
    for number in range(JOBS):
        await bus.submit("fax", "send", f"k{number}", tenant=f"tenant-{number % 5}", key=f"k{number}")


async def stored(bus: Bus) -> int:
    return (await bus.js.stream_info("JOBS_fax")).state.messages


async def current(bus: Bus, stream: str) -> bool:
    """Whether a stream has a leader, and all its copies are complete."""
    try:
        group = (await bus.js.stream_info(stream)).cluster
    except nats.errors.TimeoutError:  # no leader yet
        return False
    return group is not None and len(group.replicas or ()) == 2 and all(peer.current for peer in group.replicas or ())


@asynccontextmanager
async def alone(home: Path, interval: str) -> AsyncIterator[tuple[Broker, Bus]]:
    async with (
        Broker.start(home / "site", port=0, ws_port=None, sync_interval=interval) as broker,
        await broker.connect("operator") as bus,
    ):
        yield broker, bus


@pytest.mark.parametrize(("interval", "lost"), [("always", False), ("2m", True)])
async def test_one_server_keeps_what_it_acknowledged_through_a_power_cut_if_it_is_strict(disk, interval, lost):
    with mounted(disk) as home:
        async with alone(home, interval) as (broker, bus):
            await prepare(broker, bus)
            await submit(bus)
            assert await stored(bus) == JOBS
            after = cut(disk, [broker.server])
    with mounted(after) as home:
        async with alone(home, interval) as (_, bus):
            left = await stored(bus)
    assert (left < JOBS) is lost, f"{JOBS - left} of {JOBS} acknowledged jobs are gone"


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("interval", "lost"), [("always", False), ("2m", True)])
async def test_three_servers_that_lose_power_at_once_keep_it_if_they_are_strict(disk, interval, lost, until):
    with mounted(disk) as home:
        async with (
            testing.cluster(sync_interval=interval, home=home / "site") as cluster,
            await cluster.broker.connect("operator") as bus,
        ):
            await prepare(cluster.broker, bus)
            await submit(bus)
            assert await stored(bus) == JOBS
            after = cut(disk, cluster.servers)
    with mounted(after) as home:
        async with (
            testing.cluster(sync_interval=interval, home=home / "site", replicas=None) as cluster,
            await cluster.broker.connect("operator") as bus,
        ):
            await until(lambda: current(bus, "JOBS_fax"))
            left = await stored(bus)
    assert (left < JOBS) is lost, f"{JOBS - left} of {JOBS} acknowledged jobs are gone"


async def test_one_server_of_three_that_loses_power_costs_nothing_even_if_it_is_not_strict(disk, tmp_path, until):
    """The two others are on a disk of their own, which keeps its power."""
    with mounted(disk) as home:
        async with (
            testing.cluster(home=tmp_path / "site") as cluster,
            await cluster.broker.connect("operator") as bus,
        ):
            await prepare(cluster.broker, bus)
            first = cluster.servers[0]
            await first.stop()
            shutil.move(first.config.store, home / "n0")
            first.config.store.symlink_to(home / "n0")
            await first.start()
            await until(lambda: current(bus, "JOBS_fax"))
            os.sync()
            await submit(bus)
            after = cut(disk, [first])
            first.config.store.unlink()
            with mounted(after) as restored:
                first.config.store.symlink_to(restored / "n0")
                await first.restart()

                await until(lambda: current(bus, "JOBS_fax"))
                assert await stored(bus) == JOBS
                await first.stop()
