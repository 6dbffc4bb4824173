"""A control process: it cannot outlive its parent, its output is prefixed, and it is restarted when it dies.

The first time it is started again at once; if it keeps dying, the wait grows (`headway.scaler.restarts`).
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
from headway.scaler.restarts import STEADY, WINDOW, Restarts, RestartVerdict, cause

_LINE_LIMIT: Final = 1 << 20


class Process:
    """A process that is kept running until it is stopped.

    Args:
        label: shown before each line of its output.
        command: program and arguments.
        environment: its environment variables.
        say: receives its output, and reports on it.
        inherit: descriptors that it inherits.
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
        """Return its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep_running(self) -> None:
        """Run the process, and start it again when it dies, until `stop()`. Cancelling kills it."""
        restarts = Restarts(quick=STEADY)
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run()
            if self._stopping.is_set():
                return
            died = time.monotonic()
            verdict = restarts.died(died, died - began)
            delay = max(0.0, verdict.retry_at - died)
            self.restarts += 1
            self._say(self.label, told(cause(code), verdict, delay))
            try:
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Ask the process to end (SIGTERM)."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process, as a crash would (SIGKILL). `keep_running` starts it again."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            # Not the transport's own kill: it polls whether the process has ended, and so takes its status from
            # asyncio.
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
            start_new_session=True,  # Ctrl-C is for the parent: it drains workers before it stops the server
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            if self._stopping.is_set():  # stopped while it was being started
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
            except ValueError:  # a line beyond the limit; the next one is readable again
                continue
            if not line:
                return
            self._say(self.label, line.decode(errors="replace").rstrip())


def told(why: str, verdict: RestartVerdict, delay: float) -> str:
    """Report that a process died and when it is restarted."""
    again = f"again in {delay:.1f} s" if delay else "again at once"
    loop = f", {verdict.deaths} times within {WINDOW:g} s: see its log above" if verdict.deaths > 1 else ""
    return f"died ({why}), {again}{loop}"
