"""One nats-server process: found, started, waited for, stopped.

It runs in a process group of its own, so that Ctrl-C reaches the workers first and they can drain; on Linux the
kernel ends it when this process dies. It inherits the lock on its data: while a server runs on a directory, a second
one is refused, whichever process started the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import orjson

from headway.broker import atomic, startlog
from headway.broker.config import NatsConfig, Trust, connections_below, render
from headway.broker.errors import AlreadyRunning, BinaryMissing, BrokerError, StoreCorrupt

START_TIMEOUT: Final = 30.0
"""Seconds to become ready. A large store is read at the start."""
STOP_TIMEOUT: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_POLL: Final = 0.002
_ORPHAN_TIMEOUT: Final = 5.0
_LOG_KEPT: Final = 16 << 20
_PR_SET_PDEATHSIG: Final = 1


def find_binary() -> Path:
    """Find nats-server: `HEADWAY_NATS_SERVER`, then beside this Python, then in PATH.

    Raises:
        BinaryMissing: if there is none, or the variable names none.
    """
    if named := os.environ.get("HEADWAY_NATS_SERVER"):
        if found := shutil.which(named):
            return Path(found)
        raise BinaryMissing(
            f"HEADWAY_NATS_SERVER is {named}, which cannot be run", remedy="name an executable nats-server, or unset it"
        )
    beside = Path(sys.executable).parent / "nats-server"
    if found := shutil.which(beside) or shutil.which("nats-server"):
        return Path(found)
    raise BinaryMissing("no nats-server beside this Python or in PATH")


class Server:
    """A nats-server process with one data directory.

    Args:
        config: its configuration; ports may be `FREE_PORT`.
        binary: the program; found by `find_binary` if None.
        start_timeout: seconds to become ready.

    Attributes:
        config: its configuration. After the first start it has the real ports, so that a restart keeps them.
    """

    def __init__(self, config: NatsConfig, *, binary: Path | None = None, start_timeout: float = START_TIMEOUT) -> None:
        self.config = config
        self._binary = binary
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"Server({self.config.name!r}, {str(self.config.store)!r}, pid={self.pid})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Return where clients connect."""
        return f"nats://{self.config.host}:{self.config.port}"

    @property
    def ws_url(self) -> str | None:
        """Return where browsers connect; None without a websocket listener."""
        return None if self.config.ws_port is None else f"ws://{self.config.host}:{self.config.ws_port}"

    @property
    def pid(self) -> int | None:
        """Return its process id while it runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Return whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Return the path of its log file."""
        return self.config.store / "nats.log"

    async def start(self) -> None:
        """Start the server and wait until it serves clients with JetStream.

        Raises:
            BinaryMissing, AlreadyRunning, PortInUse, StoreCorrupt, ServerDied, NotReady: as their names say.
        """
        binary = self._binary or find_binary()
        store = self.config.store
        try:
            store.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreCorrupt(f"cannot make the data directory {store}: {error.strerror}") from error
        await self._take_lock()
        try:
            await self._start(binary)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop the server with SIGTERM, and with SIGKILL after `STOP_TIMEOUT`. Safe to call twice."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.wait(poll=_POLL)
        await self.kill()

    async def kill(self) -> None:
        """Kill the server at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            # Not cancellable: SIGKILL takes effect in a moment, and the lock must not be given up before.
            self._process.wait()
        self._release_lock()

    async def restart(self) -> None:
        """Stop the server if it runs, and start it on the same ports."""
        await self.stop()
        await self.start()

    async def wait(self, *, poll: float = 0.1) -> int:
        """Wait until the process ends for any reason, and return its status.

        Args:
            poll: seconds between two checks; no portable call waits for it.
        """
        if self._process is None:
            raise BrokerError("the server was not started")
        while (status := self._process.poll()) is None:  # noqa: ASYNC110  # a process sets no event
            await asyncio.sleep(poll)
        return status

    def trust(self, trust: Trust) -> None:
        """Set the trusted operator and accounts, from the next start on."""
        self.config = replace(self.config, trust=trust)

    async def _start(self, binary: Path) -> None:
        offset = self._spawn(binary)
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._until_ready(offset)
        except TimeoutError:
            raise startlog.too_late(self._log_since(offset), self._start_timeout) from None
        if damage := startlog.corruption(self._log_since(offset)):
            raise StoreCorrupt(f"nats-server cannot read a part of its store in {self.config.store}: {damage}")

    def _spawn(self, binary: Path) -> int:
        """Start the process; returns the offset in the log where its output begins."""
        store = self.config.store
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Go raises the soft limit to the hard one
        allowed = connections_below(-1 if descriptors == resource.RLIM_INFINITY else descriptors)
        atomic.write(store / "server.json", render(replace(self.config, max_connections=allowed)))
        shutil.rmtree(store / "ports", ignore_errors=True)
        (store / "ports").mkdir()
        if self.log.exists() and self.log.stat().st_size > _LOG_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
        assert self._lock is not None
        with self.log.open("ab") as log:
            offset = log.tell()
            try:
                self._process = subprocess.Popen(  # noqa: S603  # noqa: S603  # takes milliseconds; the arguments are not user input
                    [binary, "-c", store / "server.json"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(self._lock,),
                    preexec_fn=die_with_parent(),  # noqa: PLW1509  # two system calls, no lock taken
                )
            except OSError as error:
                raise BinaryMissing(f"cannot run {binary}: {error.strerror}") from error
        return offset

    async def _until_ready(self, offset: int) -> None:
        assert self._process is not None
        file = self.config.store / "ports" / f"nats-server_{self._process.pid}.ports"
        while True:
            if (status := self._process.poll()) is not None:
                raise startlog.cause_of_death(self._log_since(offset), str(self.config.store), status)
            if (ports := _read_ports(file)) is not None:
                break
            await asyncio.sleep(_POLL)
        ws_port = None if self.config.ws_port is None else ports["websocket"]
        self.config = replace(self.config, port=ports["nats"], ws_port=ws_port)
        while not await self._answers():  # noqa: ASYNC110  # another process sets no event
            await asyncio.sleep(_POLL)

    async def _answers(self) -> bool:
        """Return whether the server greets a client and has JetStream."""
        try:
            reader, writer = await asyncio.open_connection(self.config.host, self.config.port)
        except OSError:
            return False
        try:
            greeting = await reader.readline()
            return greeting.startswith(b"INFO ") and orjson.loads(greeting[5:]).get("jetstream") is True
        except (OSError, orjson.JSONDecodeError):
            return False
        finally:
            writer.close()

    def _log_since(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    async def _take_lock(self) -> None:
        path = self.config.store / "lock"
        if self._lock is not None:
            raise AlreadyRunning(f"this server already runs on {self.config.store}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._wait_for_lock(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor

    async def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _ORPHAN_TIMEOUT
        while not _locked(descriptor):
            owner = os.pread(descriptor, 32, 0).decode().strip()
            # The server of a killed process may still be ending: wait for it.
            if _alive(owner) or time.monotonic() > deadline:
                who = f"process {owner}" if owner else "another process"
                raise AlreadyRunning(f"{who} already runs a server on {self.config.store}")
            await asyncio.sleep(10 * _POLL)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _read_ports(file: Path) -> dict[str, int] | None:
    """Return the port of each listener; None until the file is complete."""
    try:
        found = orjson.loads(file.read_bytes())
        ports = {kind: urlsplit(urls[0]).port for kind, urls in found.items() if urls}
    except (OSError, orjson.JSONDecodeError, ValueError):
        return None
    return {kind: port for kind, port in ports.items() if port is not None}


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """Return what a child runs first so that the kernel signals it when this process dies; None off Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: after fork, as little as possible may happen
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    return arrange
