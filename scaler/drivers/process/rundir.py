"""The run directory: the workers of this machine, whichever scaler started them.

    <worker>.json   a worker's identity, written before it runs any code of its service
    <worker>.log    what it writes
    <worker>.exit   its exit code, from the zygote that reaped it
    fence           the newest leader's epoch
    <launch>.lock   held by the living zygote of a launch; .sock is where it listens, .log what it writes

Files outlive each of the processes that use them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from headway.scaler.drivers.driver import Launch, RunningWorker
from headway.scaler.errors import Fenced, LaunchFailed

FENCE: Final = "fence"
TAIL: Final = 20
"""Lines of a worker's log that are reported when it ends."""
_TAIL_BYTES: Final = 16_384
_SOCKET_BYTES: Final = 100
"""The longest socket path (sun_path) that works everywhere."""


class WorkerFile(BaseModel):
    """A worker's identity. `birth` distinguishes its process from a later one with the same id."""

    worker: str
    service: str
    version: str
    launch: str
    pid: int
    birth: str
    started: float
    revision: str = ""

    def running(self) -> RunningWorker:
        """Return it as a driver lists it."""
        return RunningWorker(self.worker, self.service, self.version, self.started, self.pid, self.revision)


def launch_id(launch: Launch) -> str:
    """Return the id of a launch: 12 hex digits of a hash of everything its workers are started from."""
    facts: dict[str, Any] = {name: getattr(launch, name) for name in Launch.__dataclass_fields__}
    facts["config"], facts["environment"] = dict(launch.config), dict(launch.environment)
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def prepare(run: Path) -> None:
    """Create the directory, for its owner only.

    Raises:
        LaunchFailed: if that fails.
    """
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchFailed(f"cannot make {run}: {error}", remedy="choose a writable directory") from error


def socket_path(run: Path, launch: str) -> Path:
    """Return the path where the zygote of a launch listens: elsewhere if it would be too long for a socket."""
    path = run / f"{launch}.sock"
    if len(os.fsencode(path)) <= _SOCKET_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
    beside = Path(tempfile.gettempdir()) / f"headway-{os.getuid()}-{name}"
    prepare(beside)
    if beside.stat().st_uid != os.getuid():
        raise LaunchFailed(f"{beside} belongs to another user", remedy="use a shorter data directory")
    return beside / f"{launch}.sock"


def pass_fence(run: Path, fence: int) -> None:
    """Store the epoch of a leader's command, unless there is a newer one.

    Raises:
        Fenced: if there is a newer one.
    """
    descriptor = os.open(run / FENCE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        newest = int(os.pread(descriptor, 32, 0) or b"0")
        if fence < newest:
            raise Fenced(f"epoch {fence} is over, {newest} has spoken")
        if fence > newest:
            os.pwrite(descriptor, b"%d\n" % fence, 0)
    finally:
        os.close(descriptor)


def launches(run: Path) -> set[str]:
    """Return the launches that have, or had, a zygote."""
    return {path.stem for path in run.glob("*.lock")}


def clear_launch(run: Path, launch: str) -> bool:
    """Remove the files of a zygote; return whether it was gone."""
    lock = run / f"{launch}.lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in (socket_path(run, launch), run / f"{launch}.log", lock):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def workers(run: Path) -> list[WorkerFile]:
    """List all workers that were started and not yet cleaned up, including dead ones."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(run) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith("."):
                with contextlib.suppress(OSError, ValidationError):  # just removed, or not complete yet
                    written = entry.stat()
                    found.append(_read(entry.path, written.st_ino, written.st_mtime_ns))
    return found


@lru_cache(maxsize=4096)
def _read(path: str, inode: int, modified: int) -> WorkerFile:  # noqa: ARG001  # noqa: ARG001  # cache keys: they identify a version of the file
    """Read a worker's identity, cached: all identities are read several times a second."""
    return WorkerFile.model_validate_json(Path(path).read_bytes())


def alive(one: WorkerFile) -> bool:
    """Return whether the process still runs, and is the same one."""
    return birth(one.pid) == one.birth


def birth(pid: int) -> str | None:
    """Return when a process began, in the system's unit; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in {b"Z", b"X"} else fields[19].decode()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError):
        return None
    command = ["ps", "-o", "lstart=,stat=", "-p", str(pid)]  # macOS
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()  # noqa: S603
    return None if not found or found.split()[-1].startswith("Z") else found.rsplit(None, 1)[0]


def tail(path: Path) -> tuple[str, ...]:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(lines[-TAIL:])


def trim(run: Path, worker: str, most: int) -> None:
    """Truncate a log that is larger than some bytes; its writer appends from the beginning."""
    path = run / f"{worker}.log"
    with contextlib.suppress(OSError):
        if path.stat().st_size > most:
            os.truncate(path, 0)


def clear(run: Path, worker: str) -> None:
    """Remove the files of a worker."""
    for suffix in ("json", "exit", "log"):
        (run / f"{worker}.{suffix}").unlink(missing_ok=True)
