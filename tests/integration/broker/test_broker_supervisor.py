"""A server of ours is kept running: one that dies, one whose port is taken, one that stores nothing any more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager

import pytest

from headway.broker import atomic, server, supervisor
from headway.broker.broker import Broker
from headway.broker.config import MOST_CONNECTIONS, connections_below
from headway.broker.supervisor import Supervisor, prove_write, restart_delay
from headway.bus import tasks


@asynccontextmanager
async def kept(tmp_path, **options):
    """A broker whose server is kept running, its supervisor, and what that says."""
    told: list[str] = []
    async with Broker.start(tmp_path / "data", port=0, ws_port=None) as broker:
        made = Supervisor(broker, lambda _label, line: told.append(line), **options)
        running = asyncio.create_task(made.run())
        try:
            yield broker, made, told
        finally:
            await tasks.end([running])


async def stores(broker) -> bool:
    async with await broker.connect("operator") as bus:
        return await prove_write(bus) < 5


async def test_a_server_that_dies_is_started_again(tmp_path, until):
    async with kept(tmp_path) as (broker, made, told):
        os.kill(broker.server.pid, signal.SIGKILL)
        await until(lambda: made.restarts == 1)
        assert await stores(broker)
        assert told == ["died (code -9), starting it again", f"serves again at {broker.url}"]


async def test_while_its_port_is_taken_it_is_tried_again_and_each_time_told(tmp_path, until):
    async with kept(tmp_path) as (broker, made, told):
        port = broker.server.config.port
        await broker.server.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            await until(lambda: sum("cannot be started" in line for line in told) >= 2)
        await until(lambda: made.restarts == 1)
        assert await stores(broker)
        assert broker.server.config.port == port


async def test_a_server_that_takes_connections_but_stores_nothing_is_restarted(tmp_path, until, monkeypatch):
    monkeypatch.setattr(server, "STOP_TIMEOUT", 0.5)
    monkeypatch.setattr(supervisor.values, "TIMEOUT", 0.5)
    async with kept(tmp_path, every=0.1, patience=1.0) as (broker, made, told):
        await until(lambda: made._broker.server.running)
        await asyncio.sleep(0.5)
        os.kill(broker.server.pid, signal.SIGSTOP)  # the kernel goes on to take its connections
        await until(lambda: made.restarts == 1)
        assert await stores(broker)
        assert "takes connections but has stored nothing" in told[0]


async def test_on_a_full_disk_it_is_told_once_and_waited_for_room(tmp_path, until, monkeypatch):
    full = True
    monkeypatch.setattr(supervisor, "has_room", lambda _store: not full)
    monkeypatch.setattr(server, "STOP_TIMEOUT", 0.5)
    monkeypatch.setattr(supervisor.values, "TIMEOUT", 0.2)
    async with kept(tmp_path, every=0.1, patience=0.5) as (broker, made, told):
        await asyncio.sleep(0.3)
        os.kill(broker.server.pid, signal.SIGSTOP)
        await until(lambda: told)
        await asyncio.sleep(1.5)
        assert made.restarts == 0
        assert len(told) == 1
        assert "is full" in told[0]
        full = False
        await until(lambda: made.restarts == 1)


def test_the_delay_between_two_starts_grows_to_a_bound():
    assert [restart_delay(n) for n in (1, 2, 3, 4, 5, 6, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(1024, 768), (1000, 744), (20_000, 15_000), (1_000_000, MOST_CONNECTIONS), (-1, MOST_CONNECTIONS), (100, 1)],
)
def test_a_server_takes_fewer_connections_than_it_may_open_files(descriptors, connections):
    assert connections_below(descriptors) == connections


async def test_the_server_is_told_so(tmp_path):
    async with Broker.start(tmp_path / "data", port=0) as broker:
        assert '"max_connections"' in (broker.server.config.store / "server.json").read_text()


def test_a_write_that_fails_leaves_no_file_behind(tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write(tmp_path / "server.json", b"{}")
    assert list(tmp_path.iterdir()) == []
