"""Supervises the server: restarts it when it dies, and when it no longer stores messages.

A server that ran out of descriptors or disk for a moment may still accept connections but never store anything again.
Only a write shows that. While the disk is full a restart would not help: the supervisor reports it and waits for
space.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headway.broker.broker import Broker
from headway.broker.errors import BinaryMissing
from headway.broker.server import Server
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, MissingStream
from headway.bus.nats import values
from headway.bus.nats.streams import CONTROL

PROBE: Final = "$KV.CONTROL.probe.supervisor"
"""Subject of the write that checks that the server stores messages."""
PROBE_LIVES: Final = 60.0
EVERY: Final = 2.0
"""Seconds between two such writes."""
PATIENCE: Final = 10.0
"""Seconds without a stored write, despite free space, after which the server is restarted."""
ROOM: Final = 32 << 20
"""Free bytes on the disk below which it counts as full."""
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 10.0
_CONNECT_TIMEOUT: Final = 5.0

Say = Callable[[str, str], object]
"""Receives a label and a line."""

_log = logging.getLogger("headway.broker")


async def prove_write(bus: Bus, subject: str = PROBE) -> float:
    """Make the server store a message; return how many seconds that took.

    Args:
        bus: a connection in the control or operator role.
        subject: a subject within the bucket of the control records. The message expires by itself.

    Raises:
        MissingStream: if there is no such bucket.
        NotStored, StoreError, QueueFull: if it is not stored.
    """
    began = time.monotonic()
    await values.write(bus.records.js, CONTROL, subject, b"{}", {}, None, ttl=PROBE_LIVES)
    return time.monotonic() - began


def restart_delay(failed: int) -> float:
    """Return the seconds to wait after a number of failed attempts to start the server."""
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failed - 1)))


class Supervisor:
    """Keeps the server of a broker running.

    Args:
        broker: with a server of its own.
        say: called with what happens to the server.
        every: seconds between two writes that check that the server stores messages.
        patience: seconds without such a write after which it is restarted.
    """

    def __init__(self, broker: Broker, say: Say, *, every: float = EVERY, patience: float = PATIENCE) -> None:
        self._broker = broker
        self._say = say
        self._every = every
        self._patience = patience
        self.restarts = 0
        """How often the server was restarted."""

    async def run(self) -> None:
        """Keep the server running until cancelled. Does nothing for an external server.

        Raises:
            BinaryMissing: if the server cannot be started because its program is gone.
        """
        server = self._broker.server
        if server is None:
            await asyncio.Event().wait()
            return
        while True:
            cause = await self._until_wrong(server)
            self._say("nats-server", f"{cause}, starting it again")
            await self._start_again(server)
            self._say("nats-server", f"serves again at {server.url}")
            self.restarts += 1

    async def _until_wrong(self, server: Server) -> str:
        """Wait until the server is dead or stores nothing; return which, in words."""
        dead = asyncio.ensure_future(server.wait())
        stuck = asyncio.ensure_future(self._until_stuck(server))
        try:
            await asyncio.wait([dead, stuck], return_when=asyncio.FIRST_COMPLETED)
            return f"died (code {dead.result()})" if dead.done() else stuck.result()
        finally:
            await tasks.end([dead, stuck])

    async def _until_stuck(self, server: Server) -> str:
        """Write again and again until nothing was stored for too long."""
        bus: Bus | None = None
        stored, full, why = time.monotonic(), False, ""
        try:
            while True:
                await asyncio.sleep(self._every)
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT + values.TIMEOUT):
                        bus = bus or await self._broker.connect("operator", name="supervisor")
                        await prove_write(bus)
                    stored, full = time.monotonic(), False
                    continue
                except MissingStream:
                    stored = time.monotonic()  # nothing declared yet, or the bucket was deleted
                    continue
                except (HeadwayError, TimeoutError, OSError) as error:
                    why = error.message if isinstance(error, HeadwayError) else repr(error)
                if not await asyncio.to_thread(has_room, server.config.store):
                    if not full:
                        self._say("nats-server", f"stores nothing: the disk of {server.config.store} is full")
                    stored, full = time.monotonic(), True
                elif time.monotonic() - stored >= self._patience:
                    return f"takes connections but has stored nothing for {time.monotonic() - stored:.0f} s ({why})"
        finally:
            if bus is not None:
                await bus.close()

    async def _start_again(self, server: Server) -> None:
        """Start the server, retrying for ever: its port may be taken for a moment, its disk full."""
        failed = 0
        while True:
            try:
                await server.restart()
            except BinaryMissing:
                raise
            except (HeadwayError, OSError) as error:
                failed += 1
                delay = restart_delay(failed)
                why = error.message if isinstance(error, HeadwayError) else str(error)
                self._say("nats-server", f"cannot be started: {why}; tried again in {delay:g} s")
                await asyncio.sleep(delay)
            else:
                return


def has_room(store: Path) -> bool:
    """Return whether a server can write to the disk of its store; unknown counts as yes."""
    try:
        return shutil.disk_usage(store).free >= ROOM
    except OSError:
        return True
