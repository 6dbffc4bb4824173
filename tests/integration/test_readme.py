"""The README's first service, done as its reader does it: copy the block, type the commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [
    command
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for command in re.findall(r"^\$ (.*)$", block, re.M)
]
(UP,) = [command for command in COMMANDS if command.startswith("headway up")]
HEADWAY = [command for command in COMMANDS if re.match(r"headway (call|submit|dead|status)", command)]
NATS = [command for command in COMMANDS if command.startswith("nats ")]
WAIT = 10.0


class Reader:
    """A shell in the reader's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWAY_", "NATS_"))}
        self.environment = {**kept, "PATH": path}

    def types(self, command: str, expected: str = "") -> str:
        """Run a line as a user would, again until its output has what is expected: jobs take a moment."""
        end = time.monotonic() + WAIT
        while True:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True,
                timeout=WAIT, check=False,
            )
            if done.returncode == 0 and expected in done.stdout:
                return done.stdout
            assert time.monotonic() < end, f"$ {command}\n{done.stdout}{done.stderr}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Iterator[Reader]:
    shell = Reader(tmp_path_factory.mktemp("reader"))
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (shell.folder / "hello.py").write_text(code)
    # The README's own line, on free ports: another server may run on this machine.
    command = f"exec {UP} --port 0 --websocket-port 0"
    with (shell.folder / "up.log").open("wb") as log, subprocess.Popen(
        ["bash", "-c", command], cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=log, text=True
    ) as running:
        try:
            assert running.stdout is not None
            first = running.stdout.readline()
            assert first.startswith("ready: hello v1"), first + (shell.folder / "up.log").read_text()
            yield shell
        finally:
            running.send_signal(signal.SIGINT)
            code = running.wait(20)
    assert code == 0


def test_the_call_is_answered(reader):
    assert "Hello Ada" in reader.types(next(command for command in HEADWAY if " call " in command))


def test_letters_are_taken_and_the_one_to_nobody_is_given_up_with_its_reason(reader):
    for command in HEADWAY:
        if " submit " in command:
            reader.types(command)
    shown = reader.types(next(command for command in HEADWAY if " dead ls" in command), expected="hello/letter")
    assert "rejected" in shown
    assert "there is nobody to write to" in shown


def test_status_shows_the_service(reader):
    assert "hello" in reader.types("headway status")


def test_the_nats_cli_drives_it(reader, nats_cli):
    reader.environment["PATH"] += f"{os.pathsep}{Path(nats_cli).parent}"
    call, submit, ls = (f'eval "$(headway env)"; {command}' for command in NATS)
    assert "Hello Ada" in reader.types(call)
    assert "JOBS_hello" in reader.types(submit)
    assert "hello" in reader.types(ls)
