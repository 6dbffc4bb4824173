"""Supervision of the server that `headway up` runs: started again whenever it ends, for as long as it takes."""

from __future__ import annotations

import asyncio
import time

from headway.broker.server import Server
from headway.bus.errors import HeadwayError
from headway.process import told
from headway.scaler.drivers.process.follow import Say
from headway.scaler.restarts import STEADY, Restarts, cause

_LABEL = "nats-server"


async def keep_server(server: Server, say: Say) -> None:
    """Start a server again each time it ends, until cancelled: its data is on disk, and everybody reconnects.

    A start that fails (its port is taken, the disk is full) is tried again with back-off, and told each time.

    Args:
        server: the server; it runs.
        say: receives what happens to it.
    """
    restarts = Restarts(quick=STEADY)
    while True:
        began = time.monotonic()
        code = await server.wait()
        died = time.monotonic()
        verdict = restarts.died(died, died - began)
        delay = max(0.0, verdict.retry_at - died)
        say(_LABEL, f"{told(cause(code), verdict, delay)}; starting it again")
        await asyncio.sleep(delay)
        await _start(server, restarts, say)
        say(_LABEL, f"serves again at {server.url}")


async def _start(server: Server, restarts: Restarts, say: Say) -> None:
    """Start a server that has ended, however often that takes."""
    while True:
        try:
            await server.restart()
        except (HeadwayError, OSError) as error:
            now = time.monotonic()
            delay = max(0.0, restarts.died(now).retry_at - now)
            why = error.message if isinstance(error, HeadwayError) else str(error)
            say(_LABEL, f"cannot be started: {why}; again in {delay:.1f} s")
            await asyncio.sleep(delay)
        else:
            return
