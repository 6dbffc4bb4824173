"""The process driver: workers on this machine, forked from a zygote for each launch.

It lists workers from the run directory, whichever scaler started them, so a new scaler finds them all. It learns
of their ends from process descriptors (pidfd), which work for processes that are not its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

from headway.bus import tasks
from headway.images import imports
from headway.scaler.drivers.driver import ExitedWorker, Launch, RunningWorker
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.rundir import WorkerFile
from headway.scaler.drivers.process.zygote import LIFELINE
from headway.scaler.errors import Fenced, LaunchFailed

START_TIMEOUT: Final = 60.0
"""Seconds that a zygote has to import its service."""
_ANSWER_TIMEOUT: Final = 5.0
_TRIES: Final = 3
"""Zygotes to try for a worker, in case one dies at that moment."""
_REAPED_TIMEOUT: Final = 2.0
"""Seconds that a zygote has to report how its worker ended, once it has."""
_POLL: Final = 0.02
_LOOK: Final = 0.2
_LINGER: Final = 2.0
"""Seconds for which the files of an ended worker are kept, so that other processes on this machine see them, too."""
_LOG_BYTES: Final = 8 << 20
"""Size at which a worker's log is truncated: it is for following, not an archive."""


class ProcessDriver:
    """Runs workers as processes; see `headway.scaler.drivers.driver.Driver`.

    Args:
        run: the run directory; created if it is missing.
        warm: keep a zygote ready that has imported everything but a service, so that edited code starts sooner.
    """

    def __init__(self, run: Path, *, warm: bool = False) -> None:
        self._run = run.absolute()
        self._warm = warm
        self._spare: asyncio.subprocess.Process | None = None
        rundir.prepare(self._run)
        self._exited: asyncio.Queue[ExitedWorker] = asyncio.Queue()
        self._watched: dict[str, int | None] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self._starting: dict[str, asyncio.Lock] = {}

    async def prepare(self, launch: Launch) -> None:
        """Let the zygote of a launch import its service. Raises `LaunchFailed` with its output if it cannot."""
        _, writer = await self._zygote(launch)
        writer.close()

    async def lead(self, fence: int) -> None:
        """Refuse former leaders. Raises `Fenced`."""
        rundir.pass_fence(self._run, fence)

    async def list(self) -> list[RunningWorker]:
        """List the living workers of the run directory."""
        found = []
        for one in rundir.workers(self._run):
            self._watch(one)
            if rundir.alive(one):
                rundir.trim(self._run, one.worker, _LOG_BYTES)
                found.append(one.running())
        return found

    async def spawn(self, launch: Launch, worker: str, fence: int) -> RunningWorker:
        """Fork a worker. Raises `LaunchFailed` and `Fenced`."""
        pid = None
        for _ in range(_TRIES):
            try:
                pid = await self._fork(launch, worker, fence)
            except ConnectionError:  # the zygote has just died, perhaps after the fork
                await asyncio.sleep(_POLL)  # the retry takes less
                pid = next((one.pid for one in rundir.workers(self._run) if one.worker == worker), None)
            if pid is not None:
                return await self._begun(worker, launch, pid)
        raise LaunchFailed(f"{worker} of {launch.service} {launch.version}: the zygote ended")

    async def _fork(self, launch: Launch, worker: str, fence: int) -> int:
        reader, writer = await self._zygote(launch)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                writer.write(orjson.dumps({"worker": worker, "fence": fence}) + b"\n")
                await writer.drain()
                line = await reader.readline()
        except TimeoutError as error:
            raise LaunchFailed(f"the zygote of {launch.service} {launch.version} does not answer") from error
        finally:
            writer.close()
        if not line:
            raise ConnectionResetError("the zygote ended")
        answer: dict[str, Any] = orjson.loads(line)
        if answer.get("error") == "fenced":
            raise Fenced(answer["message"])
        if "pid" not in answer:
            raise LaunchFailed(f"{worker} of {launch.service} {launch.version}: {answer['message']}")
        return int(answer["pid"])

    async def stop(self, worker: str, fence: int, *, kill: bool = False) -> None:
        """SIGTERM, on which a worker drains, or SIGKILL. Raises `Fenced`."""
        rundir.pass_fence(self._run, fence)
        for one in rundir.workers(self._run):
            if one.worker == worker and rundir.alive(one):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL if kill else signal.SIGTERM)

    async def keep(self, launches: Collection[Launch], fence: int) -> None:
        """Have the zygotes of other launches end, if they have no worker, and remove their files. Raises `Fenced`."""
        rundir.pass_fence(self._run, fence)
        kept = {rundir.launch_id(launch) for launch in launches}
        kept |= {one.launch for one in rundir.workers(self._run)}
        for id_ in rundir.launches(self._run) - kept:
            async with self._starting.setdefault(id_, asyncio.Lock()):
                if not rundir.clear_launch(self._run, id_):
                    await self._leave(id_, fence)
            self._starting.pop(id_, None)

    async def _leave(self, id_: str, fence: int) -> None:
        """Ask a zygote to end; one that does not answer is asked again the next time."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                _, writer = await asyncio.open_unix_connection(str(rundir.socket_path(self._run, id_)))
                try:
                    writer.write(orjson.dumps({"leave": True, "fence": fence}) + b"\n")
                    await writer.drain()
                finally:
                    writer.close()

    async def exits(self) -> AsyncIterator[ExitedWorker]:
        """Yield the workers that ended, each once."""
        while True:
            yield await self._exited.get()

    async def close(self) -> None:
        """Stop watching. Zygotes and workers go on."""
        loop = asyncio.get_running_loop()
        for descriptor in self._watched.values():
            if descriptor is not None:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        self._watched.clear()
        if self._spare is not None and self._spare.stdin is not None:
            self._spare.stdin.close()  # it ends
        await tasks.end(list(self._ends))

    async def _begun(self, worker: str, launch: Launch, pid: int) -> RunningWorker:
        """Wait until the worker has written its identity, or has ended."""
        path = self._run / f"{worker}.json"
        while not path.exists() and rundir.birth(pid) is not None:  # noqa: ASYNC110  # files have no events
            await asyncio.sleep(_POLL / 10)
        for one in rundir.workers(self._run):
            if one.worker == worker:
                self._watch(one)
                return one.running()
        said = " / ".join(rundir.tail(self._run / f"{worker}.log"))
        rundir.clear(self._run, worker)
        raise LaunchFailed(f"{worker} of {launch.service} {launch.version} ended at once: {said}")

    async def _zygote(self, launch: Launch) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the zygote of a launch, starting it if it does not run."""
        id_ = rundir.launch_id(launch)
        path = rundir.socket_path(self._run, id_)
        async with self._starting.setdefault(id_, asyncio.Lock()):
            with contextlib.suppress(OSError):
                return await asyncio.open_unix_connection(str(path))
            process = await self._start(id_, launch)
            ended = asyncio.ensure_future(process.wait())
            try:
                async with asyncio.timeout(START_TIMEOUT):
                    while True:
                        with contextlib.suppress(OSError):
                            return await asyncio.open_unix_connection(str(path))
                        if ended.done() and ended.result() != 0:
                            said = " / ".join(rundir.tail(self._run / f"{id_}.log")) or f"exit code {ended.result()}"
                            raise LaunchFailed(f"{launch.service} {launch.version} cannot be started: {said}")
                        await asyncio.sleep(_POLL)
            except TimeoutError:
                raise LaunchFailed(
                    f"{launch.app} was not imported within {START_TIMEOUT:g} s", remedy="import it by hand to see why"
                ) from None
            finally:
                ended.cancel()

    async def _start(self, id_: str, launch: Launch) -> asyncio.subprocess.Process:
        """Start a zygote, or use the spare one, and give it its launch."""
        spare, self._spare = (self._spare, None) if launch.image is None else (None, self._spare)
        log = self._run / f"{id_}.log"
        log.write_bytes(b"")
        log.chmod(0o600)
        usable = spare is not None and spare.returncode is None
        process = spare if spare is not None and usable else await self._zygote_process(log, image=launch.image)
        assert process.stdin is not None
        ask = {"run": str(self._run), "id": id_, "launch": asdict(launch), "log": str(log) if usable else None}
        process.stdin.write(orjson.dumps(ask))
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        process.stdin.close()
        if self._warm and self._spare is None:
            self._spare = await self._zygote_process(self._run / "spare.log", image=None)
        return process

    async def _zygote_process(self, path: Path, *, image: str | None) -> asyncio.subprocess.Process:
        lifeline = os.environ.get(LIFELINE, "")
        # A working tree is imported as any program would be; beside an image nothing of the surroundings counts.
        python, environment = ([sys.executable], dict(os.environ)) if image is None else imports.isolated()
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *python,
                "-m",
                "headway.scaler.drivers.process.zygote",
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives us
                pass_fds=(int(lifeline),) if lifeline else (),
            )
        finally:
            os.close(log)

    def _watch(self, one: WorkerFile) -> None:
        if one.worker in self._watched:
            return
        try:
            descriptor = os.pidfd_open(one.pid)
        except (AttributeError, OSError):  # not Linux, or gone
            self._watched[one.worker] = None
            self._end_of(one)
            return
        self._watched[one.worker] = descriptor
        if not rundir.alive(one):  # gone, and its process id may be reused
            self._ended(one)
        else:
            asyncio.get_running_loop().add_reader(descriptor, self._ended, one)

    def _ended(self, one: WorkerFile) -> None:
        descriptor = self._watched.get(one.worker)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            self._watched[one.worker] = None
        self._end_of(one)

    def _end_of(self, one: WorkerFile) -> None:
        task = asyncio.ensure_future(self._tell(one))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _tell(self, one: WorkerFile) -> None:
        """Report the end of a worker, with its exit code if its zygote is alive to report it."""
        while rundir.alive(one):  # noqa: ASYNC110  # where there are no process descriptors
            await asyncio.sleep(_LOOK)
        path = self._run / f"{one.worker}.exit"
        code = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REAPED_TIMEOUT):
                while not path.exists():  # noqa: ASYNC110  # files have no events
                    await asyncio.sleep(_POLL)
        with contextlib.suppress(OSError, ValueError):
            code = int(path.read_bytes())
        said = rundir.tail(self._run / f"{one.worker}.log")
        self._exited.put_nowait(ExitedWorker(one.worker, one.service, one.version, code, said))
        try:
            await asyncio.sleep(_LINGER)
        finally:
            rundir.clear(self._run, one.worker)
            self._watched.pop(one.worker, None)
