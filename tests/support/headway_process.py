"""One `headway up` for all tests of a module, and commands run against it as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0

APP = """
import os, time
from headway import Context, Reject, Retry, Service
from pydantic import BaseModel

hello = Service("hello", description="Says hello.", ack_wait=1)


class Person(BaseModel):
    name: str


@hello.rpc("greet")
async def greet(person: Person, ctx: Context) -> str:
    if person.name == "Nobody":
        raise Reject("there is nobody to greet")
    if person.name == "Trouble":
        raise RuntimeError("the secret cause")
    return f"Hello {person.name} of {ctx.tenant}"


@hello.job("letter", retry=Retry(attempts=2, backoff=(0.05,)))
async def letter(person: Person, ctx: Context) -> None:
    if person.name == "Nobody":
        raise Reject("there is nobody to write to")
    await ctx.objects.put("letter", person.name, {"pid": os.getpid()})


@hello.on("person.met")
async def met(person: Person, ctx: Context) -> None:
    await ctx.objects.put("met", person.name, {})


@hello.rpc("met")
async def has_met(person: Person, ctx: Context) -> bool:
    return await ctx.objects.get("met", person.name, dict) is not None


@hello.rpc("written")
async def written(person: Person, ctx: Context) -> bool:
    return await ctx.objects.get("letter", person.name, dict) is not None
"""

CRASHING = """
import os
from headway import Service

hello = Service("hello")

@hello.on_start
async def start(info):
    os._exit(7)
"""


def environment(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWAY_", "NATS_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "80", **changed}


def eventually(condition: Callable[[], object], why: str = ""):
    """Wait until a condition holds, and return what it said."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, why or "it never came true"
        time.sleep(0.05)
    return found


def children(pid: int) -> set[int]:
    """The living processes below one, all generations."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found, todo = set(), [pid]
    while todo:
        parent = todo.pop()
        new = {child for child, of in parents.items() if of == parent}
        found |= new
        todo.extend(new)
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of some processes that still run."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
    return found


@dataclass
class Up:
    """A `headway up` in a folder of its own."""

    folder: Path
    process: subprocess.Popen[str]
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    def says(self, text: str) -> str:
        eventually(lambda: text in self.said or self.process.poll() is not None)
        assert text in self.said, self.said
        return self.said

    def run(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return headway(self.folder, *arguments, stdin=stdin, **env)

    def json(self, *arguments: str):
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def json_of(self, name: str):
        """A JSON file of its data directory."""
        return json.loads((self.folder / ".headway" / name).read_text())

    def workers(self) -> dict[str, int]:
        """The process of each living worker."""
        files = [json.loads(path.read_text()) for path in (self.folder / ".headway" / "run").glob("*.json")]
        return {one["worker"]: one["pid"] for one in files if alive({one["pid"]})}

    def end(self) -> None:
        left = children(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        for pid in alive(left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def headway(folder: Path, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway", *arguments],
        cwd=folder,
        env=environment(**env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def start(folder: Path, *arguments: str, output: str = "output", command: str = "up", **env: str) -> Up:
    folder.mkdir(exist_ok=True)
    if not (folder / "app.py").exists():
        (folder / "app.py").write_text(APP)
    said = folder / output
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "headway", command, *arguments],
            cwd=folder,
            env=environment(**env),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    return Up(folder, process, said)


FREE = ("--port", "0", "--websocket-port", "0")


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Iterator[Up]:
    """The service above with two workers, ready."""
    running = start(tmp_path_factory.mktemp("up") / "site", "app:hello", "--workers", "2", *FREE)
    try:
        running.says("ready:")
        yield running
    finally:
        running.end()


@pytest.fixture
def fresh(tmp_path) -> Iterator[Callable[..., Up]]:
    """Start another `headway up`: `fresh("app:hello", *FREE)`."""
    running: list[Up] = []

    def begin(*arguments: str, folder: Path | None = None, output: str = "output", **env: str) -> Up:
        running.append(start(folder or tmp_path / "site", *arguments, output=output, **env))
        return running[-1]

    yield begin
    for one in running:
        one.end()
