"""What tests of several folders share: worker processes, a link that can be cut, the `nats` CLI."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, settings

pytest.register_assert_rewrite("tests.support")

# No deadline: a busy machine is no bug. Few examples: the unit tests are run all the time; CI makes more of them.
settings.register_profile("quick", deadline=None, max_examples=6)
settings.register_profile("ci", deadline=None, max_examples=150)
# A mutant's test need not find the smallest example, and has to end the same way each time.
settings.register_profile(
    "mutants", deadline=None, max_examples=20, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "quick")

LONGEST = frozenset(
    {
        "test_chaos_fleet",
        "test_commands",
        "test_containers_compose",
        "test_headway_backup",
        "test_headway_rollout",
        "test_readme",
        "test_tutorial",
        "test_up_and_down",
    }
)
"""Files with a test, or with tests that stay together, that take longest; as single tests that are marked `slow` do.
They come first, so that none of them is left alone at the end."""


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays: the garbage collector need not go through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _shares(item: pytest.Item) -> bool:
    """Whether a test uses what all tests of its module share, such as one `headway up`."""
    assert isinstance(item, pytest.Function)
    return any(made.scope == "module" for defs in item._fixtureinfo.name2fixturedefs.values() for made in defs)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    shared = {item for item in items if _shares(item)}
    for item in shared:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))

    def place(item: pytest.Item) -> tuple[bool, bool]:
        return item.path.stem not in LONGEST and item.get_closest_marker("slow") is None, item not in shared

    items.sort(key=place)


DEADLINE = 30.0
"""Seconds that anything may take on a busy machine before a test calls it broken."""


def _missing(what: str) -> None:
    """Skip a test whose tool is not on this machine; in CI, where all tools are to be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


async def _until(condition: Callable[[], object], timeout: float = DEADLINE):
    """Wait until a condition, which may be async, holds, and return what it said."""
    async with asyncio.timeout(timeout):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


_MAIN = (
    "import json, sys; from headway.bus.worker.runner import main; sys.exit(main('app:app', **json.loads(sys.argv[1])))"
)


class WorkerProcess:
    """A worker in a process of its own. `lines` is its log so far, each line one JSON object."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[bytes] = []
        self._arrived = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return b"".join(self.lines).decode()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def says(self, text: str) -> None:
        """Wait until the log has this text."""
        async with asyncio.timeout(DEADLINE), self._arrived:
            await self._arrived.wait_for(lambda: text in self.log or self._reader.done())
        assert text in self.log, self.log

    async def ended(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait([self._reader])  # whoever waits may be cancelled, the reading goes on
            return await self.process.wait()

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line)
            async with self._arrived:
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()


@pytest.fixture
async def spawn(tmp_path: Path):
    """Write a service module and run workers of it: `await spawn(broker, source, grace=5)`."""
    running: list[WorkerProcess] = []

    async def start(
        broker,
        source: str,
        *,
        service: str = "app",
        serving: bool = True,
        env: dict[str, str] | None = None,
        **options: object,
    ) -> WorkerProcess:
        (tmp_path / "app.py").write_text(source)
        creds = tmp_path / "worker.creds"
        creds.write_text(broker.identities.creds("worker", service=service))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _MAIN,
            json.dumps({"url": broker.url, "creds": str(creds), **options}),
            cwd=tmp_path,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        worker = WorkerProcess(process)
        running.append(worker)
        if serving:
            await worker.says(" serves as ")
        return worker

    yield start
    for worker in running:
        await worker.kill()


class Link:
    """A TCP link to the server that can be cut, be slow, and lose what it is told to lose.

    Attributes:
        url: what a client connects to.
        latency: seconds that each chunk takes, in both directions.
        loses: asked about each chunk from the client; True cuts its connection instead of passing it on.
        holds: what the client says is held for a moment where this begins; all before it goes on at once.
        accepted: how many connections were made over it.
    """

    def __init__(self, url: str) -> None:
        self._target = url.removeprefix("nats://").split(":")
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = True
        self.latency = 0.0
        self.loses: Callable[[bytes], bool] = lambda _chunk: False
        self.holds = b""
        self.accepted = 0
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Cut all connections there are; new ones are let in."""
        for writer in self._open:
            writer.transport.abort()

    def cut(self) -> None:
        """Cut all connections, and refuse new ones until `mend()`."""
        self._up = False
        self.drop()

    def mend(self) -> None:
        self._up = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, lossy=True), self._carry(far_reader, writer, lossy=False)
            )
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lossy: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1 << 16):
                if lossy and self.loses(chunk):
                    self.drop()
                    return
                if lossy and self.holds and self.holds in chunk:
                    before, _, _ = chunk.partition(self.holds)
                    writer.write(before)
                    await asyncio.sleep(0.2)
                    chunk = chunk.removeprefix(before)  # the rest of it
                if self.latency:
                    await asyncio.sleep(self.latency)
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def link(bus):
    """A link to the server of fixture `bus`."""
    made = Link(bus.url)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="session")
def missing():
    """`missing("the nats CLI is not installed")`: skip, or in CI fail."""
    return _missing


@pytest.fixture
def until():
    """`await until(lambda: ...)`: wait until a condition holds."""
    return _until


@pytest.fixture
def nats_cli(tmp_path: Path):
    """Run the real `nats` command with an operator's rights: `print(await nats_cli(broker, "micro", "ls"))`."""
    program = shutil.which("nats", path=os.pathsep.join([os.environ["PATH"], str(Path("~/go/bin").expanduser())]))
    if program is None:
        _missing("the nats CLI is not installed: go install github.com/nats-io/natscli/nats@latest")

    async def run(broker, *arguments: str) -> str:
        creds = tmp_path / "operator.creds"
        creds.write_text(broker.identities.creds("operator"))
        process = await asyncio.create_subprocess_exec(
            program,
            "--server",
            broker.url,
            "--creds",
            creds,
            *arguments,
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
        assert process.returncode == 0, output.decode()
        return output.decode()

    return run


@pytest.fixture
async def letters(bus):
    """`await letters(n)`: the dead letters, oldest first, once there are n."""
    from headway.bus.client import dead

    async def wait(count: int) -> list[dead.DeadLetter]:
        await _until(lambda: _stored(bus, count))
        return [letter async for letter in dead.list_(bus.bus.js)]

    return wait


async def _stored(bus, count: int) -> bool:
    return (await bus.bus.js.stream_info("DEAD")).state.messages >= count


@pytest.fixture
async def fleet(nats_broker, tmp_path: Path):
    """A fleet of worker processes, with scalers; all are dead when the test is over. See tests/support/scaling.py."""
    from tests.support.scaling import Fleet

    async with await nats_broker.connect("operator") as bus:
        made = Fleet(nats_broker, bus, tmp_path, _until)
        try:
            yield made
        finally:
            await made.close()
