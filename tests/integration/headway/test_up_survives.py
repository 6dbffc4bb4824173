"""`headway up` goes on whatever happens around it: a port taken, a full disk, a terminal that nobody reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.headway_process import APP, FREE, Up, children, environment, eventually

LOUD = """
import sys
from headway import Service

hello = Service("hello")

@hello.on_start
async def start(info):
    for _ in range(2_000):
        print("x" * 200, file=sys.stderr)
"""


def server_of(running: Up) -> int | None:
    """The process of its nats-server."""
    for pid in children(running.process.pid):
        try:
            if b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                return pid
        except OSError:
            continue
    return None


def port_of(running: Up) -> int:
    return int(running.json_of("running.json")["url"].rsplit(":", 1)[1])


def test_a_port_that_is_taken_for_a_while_only_delays_the_server(fresh):
    running = fresh("app:hello", *FREE)
    running.says("ready:")
    port, victim = port_of(running), server_of(running)
    assert victim is not None
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(victim, signal.SIGKILL)
        while True:
            try:
                thief.bind(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.001)
        thief.listen()
        running.says("cannot be started: 127.0.0.1:")
        time.sleep(2)
    running.says(f"serves again at nats://127.0.0.1:{port}")
    eventually(lambda: running.run("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme").returncode == 0)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(40) == 0


def test_a_server_that_died_on_a_full_disk_is_tried_again_until_there_is_room(tmp_path):
    """The file-size limit of the process stands for the disk: nothing can be written beyond it."""
    (tmp_path / "app.py").write_text(APP)
    said, store = tmp_path / "output", tmp_path / ".headway"
    with (
        said.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "headway", "up", "app:hello", *FREE],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
        subprocess.Popen(["cat"], stdin=process.stdout, stdout=file),
    ):
        running = Up(tmp_path, process, said)
        try:
            running.says("ready:")
            victim = server_of(running)
            assert victim is not None
            subprocess.run(["prlimit", "--pid", str(process.pid), "--fsize=16:"], check=True)
            os.kill(victim, signal.SIGKILL)
            running.says("cannot be started: ")
            time.sleep(1)
            assert not list(store.glob(".*")), "no temporary file is left"
            subprocess.run(["prlimit", "--pid", str(process.pid), "--fsize=unlimited:"], check=True)
            running.says("serves again at")
            assert not list(store.glob(".*"))
        finally:
            running.end()


def test_output_that_nobody_reads_holds_up_nothing(tmp_path):
    (tmp_path / "app.py").write_text(LOUD + APP.split("hello = Service", 1)[0])
    with subprocess.Popen(
        [sys.executable, "-m", "headway", "up", "app:hello", "--workers", "1", *FREE],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        running = Up(tmp_path, process, tmp_path / "output")
        try:
            eventually(lambda: (tmp_path / ".headway" / "running.json").exists() and running.workers())
            time.sleep(2)
            victim = server_of(running)
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: server_of(running) not in {None, victim}, "nobody started the server again")
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0
        finally:
            running.end()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_ends_nothing(tmp_path, stream):
    (tmp_path / "app.py").write_text(APP)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-m", "headway", "up", "app:hello", "--workers", "1", *FREE],
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        **streams,
    ) as process:
        running = Up(tmp_path, process, tmp_path / "output")
        try:
            pipe = process.stdout or process.stderr
            assert pipe is not None
            pipe.close()
            [(_, pid)] = eventually(lambda: running.workers().items())
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: pid not in running.workers().values() and running.workers())
            assert process.poll() is None
        finally:
            running.end()
