"""The zygote: a process that has imported one version's service, and forks its workers.

    python -m headway.scaler.drivers.process.zygote  <  {"run": ..., "id": ..., "launch": {...}}

A fork takes milliseconds and shares the imported modules, whereas a fresh interpreter takes much of a second. The
zygote has one thread and no event loop, so forking it is safe. It outlives the scaler, and its workers outlive it.
When the other end of its lifeline closes (`headway up` is gone), it drains its workers and exits.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import orjson

from headway.broker import atomic
from headway.bus.errors import HeadwayError
from headway.bus.worker import runner
from headway.images import imports, seal
from headway.images.image import Manifest
from headway.scaler.drivers import priority
from headway.scaler.drivers.driver import Launch
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.rundir import WorkerFile
from headway.scaler.errors import Fenced

LIFELINE: Final = "HEADWAY_LIFELINE"
"""Environment variable with the number of the inherited descriptor."""
ALREADY: Final = 0
FAILED: Final = 2
_TICK: Final = 5.0
"""Seconds between two checks that the run directory still exists; everything else wakes the zygote."""
_LEAVING_TICK: Final = 0.2
"""Seconds between two checks whether the workers of a former zygote have ended."""
_LINE: Final = 1 << 20


class Zygote:
    """The zygote of one launch, made after its service was imported."""

    def __init__(self, run: Path, launch_id: str, launch: Launch, lock: int) -> None:
        self._run = run
        self._id = launch_id
        self._launch = launch
        self._lock = lock
        self._path = rundir.socket_path(run, launch_id)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._clients: dict[socket.socket, bytearray] = {}
        self._wake, self._woken = socket.socketpair()
        self._children: dict[int, str] = {}
        self._leaving = False

    def serve(self) -> None:
        """Fork workers until the lifeline closes or the run directory is gone."""
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._leave())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._woken, selectors.EVENT_READ)
        lifeline = os.environ.pop(LIFELINE, "")
        if lifeline:
            os.set_inheritable(int(lifeline), False)  # forked workers inherit it, programs that they execute do not
            self._selector.register(int(lifeline), selectors.EVENT_READ)
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not (self._leaving and not self._ours()):
            for key, _ in self._selector.select(_LEAVING_TICK if self._leaving else _TICK):
                if key.fileobj is self._listener:
                    client, _ = self._listener.accept()
                    self._clients[client] = bytearray()
                    self._selector.register(client, selectors.EVENT_READ)
                elif key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                elif isinstance(key.fileobj, int):
                    self._selector.unregister(key.fileobj)
                    self._leave()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
            self._reap()
            if not self._run.exists():
                return
        self._path.unlink(missing_ok=True)

    def _leave(self) -> None:
        """Drain all workers of this launch, including those of a former zygote, then end."""
        self._leaving = True
        for one in self._ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)

    def _ours(self) -> list[WorkerFile]:
        return [one for one in rundir.workers(self._run) if one.launch == self._id and rundir.alive(one)]

    def _hear(self, client: socket.socket) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = client.recv(65_536)
        buffer = self._clients[client]
        buffer += data
        if not data or len(buffer) > _LINE:
            self._selector.unregister(client)
            del self._clients[client]
            client.close()
            return
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            with contextlib.suppress(ConnectionError):
                client.sendall(orjson.dumps(self._answer(orjson.loads(line))) + b"\n")

    def _answer(self, ask: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._leaving:
                return {"error": "leaving", "message": "the installation is being stopped"}
            rundir.pass_fence(self._run, int(ask["fence"]))
            if ask.get("leave"):
                self._leaving = not self._ours()  # existing workers keep running, and this zygote reports their ends
                return {"leaving": self._leaving}
            if self._launch.image is not None:
                _verify(self._launch, self._launch.image)
            return {"pid": self._fork(str(ask["worker"]))}
        except Fenced as error:
            return {"error": "fenced", "message": error.message}
        except (HeadwayError, OSError) as error:
            return {"error": "launch_failed", "message": str(error)}

    def _fork(self, worker: str) -> int:
        if (self._run / f"{worker}.json").exists():
            raise FileExistsError(f"a worker {worker} exists already")
        os.chdir(self._launch.root)  # the working directory may be gone: repairing an image replaces its folder
        log = os.open(self._run / f"{worker}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(worker, log)
        finally:
            os.close(log)
        self._children[pid] = worker
        return pid

    def _become(self, worker: str, log: int) -> None:
        """Become a worker, in the child; never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            priority.take(self._launch.priority)
            os.dup2(log, 1)
            os.dup2(log, 2)
            self._selector.close()
            for one in (self._listener, self._wake, self._woken, *self._clients):
                one.close()
            os.close(self._lock)
            launch = self._launch
            here = os.getpid()
            known = WorkerFile(
                worker=worker,
                service=launch.service,
                version=launch.version,
                launch=self._id,
                pid=here,
                birth=rundir.birth(here) or "",
                started=time.time(),
                revision=launch.revision,
            )
            atomic.write(self._run / f"{worker}.json", known.model_dump_json().encode())
            code = runner.main(launch.app, launch.version, config=dict(launch.config), name=worker, grace=launch.grace)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as error:  # no exception may reach the zygote's loop
            os.write(2, f"the worker could not start: {error!r}\n".encode())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                return
            if pid == 0:
                return
            worker = self._children.pop(pid, None)
            if worker is not None and self._run.exists():
                atomic.write(self._run / f"{worker}.exit", b"%d" % os.waitstatus_to_exitcode(status))


def _verify(launch: Launch, digest: str) -> Manifest:
    """Verify the image of a launch, every byte.

    Raises:
        NoImage, ImageChanged: if it differs from what was built or from the launch.
        NotSigned: if no trusted key has signed it.
    """
    return seal.verify_source(Path(launch.root), digest, service=launch.service, app=launch.app, config=launch.config)


def main() -> int:
    """Import the service, and serve fork requests."""
    text = sys.stdin.buffer.read()
    if not text:
        return ALREADY  # a spare one that was not needed
    ask = orjson.loads(text)
    if ask.get("log"):  # a spare one did not know yet where it would write
        log = os.open(ask["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    run, launch_id, launch = Path(ask["run"]), str(ask["id"]), Launch(**ask["launch"])
    lock = os.open(run / f"{launch_id}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ALREADY  # another zygote serves, or is about to
    os.environ.update(launch.environment)
    try:
        if launch.image is None:
            os.chdir(launch.root)
        else:
            imports.enter(Path(launch.root), _verify(launch, launch.image))
        service = runner.load(launch.app)
        if service.name != launch.service:
            raise LookupError(f"{launch.app} is service {service.name!r}, not {launch.service!r}")
        service.configure(dict(launch.config))
    except HeadwayError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except OSError as error:
        sys.stderr.write(f"cannot work in {launch.root}: {error}\n")
        return FAILED
    gc.collect()
    gc.freeze()
    Zygote(run, launch_id, launch, lock).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
