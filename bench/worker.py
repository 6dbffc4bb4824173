"""A real worker process of the bench: `headway.bus.worker.runner.main`, ready when its first heartbeat says so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.message import SERVICE, VERSION
from bench.server import dies_with_parent
from headway.bus.wire.beat import Beat

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 40.0


@asynccontextmanager
async def worker(nc: Client, url: str, work_s: float) -> AsyncIterator[int]:
    """Start a worker, yield its process id once it serves, and let it drain at the end.

    Args:
        nc: the connection that receives its heartbeat.
        url: of the server.
        work_s: how long each of its jobs takes, in seconds.

    Raises:
        RuntimeError: if it does not start.
    """
    serving = asyncio.Event()

    async def on_beat(message: Msg) -> None:
        if Beat.model_validate_json(message.data).state == "serving":
            serving.set()

    beats = await nc.subscribe(f"beat.{SERVICE}.{VERSION}.*", cb=on_beat)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.app",
        url,
        str(work_s),
        env={**os.environ, "HEADWAY_LOG_LEVEL": "WARNING"},
        preexec_fn=dies_with_parent(),
    )
    try:
        try:
            await asyncio.wait_for(serving.wait(), _START_TIMEOUT)
        except TimeoutError as error:
            raise RuntimeError("the worker did not start") from error
        yield process.pid
    finally:
        await beats.unsubscribe()
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
