"""One control process: started so that it cannot outlive us, its output prefixed, started again when it dies.

One that dies is started again at once the first time; one that keeps dying waits longer each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Final

from headway.broker.server import die_with_parent
from headway.scaler.drivers.process.follow import Say

_STEADY: Final = 10.0
"""Seconds after which one that runs is no longer part of a crash loop."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_LINE_LIMIT: Final = 1 << 20


def restart_delay(deaths: int) -> float:
    """Seconds to wait before it is started again.

    Args:
        deaths: how often it has died without having run steadily in between; 1 is the first.
    """
    return 0.0 if deaths <= 1 else min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (deaths - 2))


class Process:
    """A process that is kept running until it is told to stop.

    Args:
        label: shown before each line of its output.
        command: program and arguments.
        environment: its environment variables.
        say: receives its output, and what happens to it.
        inherit: descriptors that it gets.
    """

    def __init__(
        self,
        label: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        say: Say,
        *,
        inherit: Sequence[int] = (),
    ) -> None:
        self.label = label
        self.restarts = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._say = say
        self._inherit = tuple(inherit)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep_running(self) -> None:
        """Run it, again and again, until `stop()`. Cancelling kills it."""
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began > _STEADY else deaths + 1
            delay = restart_delay(deaths)
            self.restarts += 1
            again = f"again in {delay:.1f} s" if delay else "again at once"
            loop = f", {deaths} times in a row: see its log above" if deaths > 1 else ""
            self._say(self.label, f"died ({_cause(code)}), {again}{loop}")
            try:
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Ask it to end: SIGTERM."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL. `keep_running` starts it again."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            # Not the transport's own: that one looks whether the process has ended, and takes its status from asyncio.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _run(self) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            limit=_LINE_LIMIT,
            pass_fds=self._inherit,
            start_new_session=True,  # Ctrl-C is ours: we drain workers before we stop the server
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            if self._stopping.is_set():  # told to stop while it was being started
                process.terminate()
            await self._relay(process)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _relay(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # a line beyond the limit; what follows it is readable again
                continue
            if not line:
                return
            self._say(self.label, line.decode(errors="replace").rstrip())


def _cause(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
