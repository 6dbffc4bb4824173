"""The other processes of a bench: each contender runs in its own process, as it would be deployed.

The bench and a child talk in JSON lines: the child says `"ready"`, the bench gives an order, the child answers with
what it measured.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvloop

from bench.server import dies_with_parent

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0


class Child:
    """A child process of the bench."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    async def hear(self, timeout: float) -> Any:
        """Wait for its next message and return it.

        Args:
            timeout: seconds to wait.

        Raises:
            RuntimeError: if it ends or stays silent for too long.
        """
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
        except TimeoutError as error:
            raise RuntimeError(f"{self._name}: silent for {timeout:g} s") from error
        if not line:
            raise RuntimeError(f"{self._name}: ended with code {await self._process.wait()}")
        return orjson.loads(line)

    async def ask(self, order: Any, timeout: float) -> Any:
        """Send it an order and return its answer. Raises as `hear`."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(order) + b"\n")
        await self._process.stdin.drain()
        return await self.hear(timeout)


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run a module of the bench in its own process: ready inside the block, ended with it.

    Raises:
        RuntimeError: if it does not become ready.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
        preexec_fn=dies_with_parent(),
    )
    try:
        started = Child(process, " ".join((module, *arguments)))
        await started.hear(_START_TIMEOUT)
        yield started
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()


async def orders() -> AsyncIterator[Any]:
    """Report, in the child, that it is ready; then yield each order until the bench closes the pipe."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    while line := await reader.readline():
        yield orjson.loads(line)


def say(what: Any) -> None:
    """Send a message to the bench, in the child."""
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.flush()


def run(main: Callable[..., Coroutine[Any, Any, None]], *arguments: str) -> None:
    """Run the child on uvloop, as `headway worker` and `faststream run` do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*arguments))
