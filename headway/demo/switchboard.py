"""Clients of the service `calls`: agents, and callers who are routed, talk and hang up."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from headway.bus import tasks
from headway.bus.client.bus import Tenant
from headway.bus.errors import CallError
from headway.demo import work
from headway.demo.progress import DemoProgress
from headway.demo.work import Caller
from headway.installation import Installation

PATIENCE: Final = 10.0
"""Seconds for which a client repeats a request that may succeed later."""
_HOLD: Final = 0.03
"""Seconds that an agent talks."""
_ASK_AGAIN: Final = 0.05
_PRESENCE: Final = 10.0


class Switchboard:
    """Talks to `calls` for a tenant.

    Attributes:
        latencies: seconds that each request took.
        repeated: requests that were sent again after an error that allowed it.
    """

    def __init__(self, client: Tenant, progress: DemoProgress) -> None:
        self._client = client
        self._progress = progress
        self.latencies: list[float] = []
        self.repeated = 0

    async def agents(self) -> None:
        """Keep agents at their desks, until cancelled."""
        while True:
            for n in range(work.AGENTS):
                status = {"agent": f"agent-{n}", "skills": list(work.SKILLS), "languages": ["en"]}
                await self.call("agent-status", status)
            await asyncio.sleep(_PRESENCE)

    async def place(self, caller: Caller) -> None:
        """Place one call, from the request to hanging up."""
        request = {"call": caller.id, "skill": caller.skill, "language": "en", "caller": "+49 30 999"}
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            routed = await self.call("route", request)
            if routed["state"] == "active" or caller.gives_up:
                break
            await asyncio.sleep(_ASK_AGAIN)
        await asyncio.sleep(_HOLD)
        await self.call("hangup", {"call": caller.id})

    async def call(self, operation: str, request: dict[str, Any]) -> Any:
        """Send a call, again if the error allows it."""
        until = time.monotonic() + PATIENCE
        while True:
            began = time.monotonic()
            try:
                reply = await self._client.call("calls", operation, request, timeout=2)
            except CallError as error:
                if not error.retryable or time.monotonic() > until:
                    raise
                self.repeated += 1
                await asyncio.sleep(_ASK_AGAIN)
                continue
            took = time.monotonic() - began
            self.latencies.append(took)
            self._progress.called(self._client.tenant, took)
            return reply


class Callers:
    """Let one caller after another call at each tenant, while the block runs.

    Args:
        running: the installation.
        tenants: tenants of the callers.
        prefix: prefix of the calls' ids.
        progress: receives what to show.
        pause: seconds between two calls of one tenant.
    """

    def __init__(
        self,
        running: Installation,
        tenants: Sequence[str],
        prefix: str,
        progress: DemoProgress,
        *,
        pause: float = 0.02,
    ) -> None:
        self._running = running
        self._progress = progress
        self._tenants = tenants
        self._prefix = prefix
        self._pause = pause
        self._over = asyncio.Event()
        self._boards: list[Switchboard] = []
        self._numbers = itertools.count()

    def take(self) -> list[float]:
        """Return all latencies since the last call, in seconds."""
        found = [latency for board in self._boards for latency in board.latencies]
        for board in self._boards:
            board.latencies.clear()
        return found

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call inside the block; the caller on the line at its end hangs up first. Raises the callers' errors."""
        async with tasks.group() as group:
            for tenant in self._tenants:
                group.create_task(self._call_on(tenant))
            try:
                yield
            finally:
                self._over.set()

    async def _call_on(self, tenant: str) -> None:
        async with await self._running.broker.connect("client", tenant=tenant) as bus:
            board = Switchboard(bus.tenant(tenant), self._progress)
            self._boards.append(board)
            async with tasks.group() as group:
                agents = group.create_task(board.agents())
                while not self._over.is_set():
                    self._progress.sent[tenant] += 1
                    await board.place(Caller(tenant, f"{self._prefix}-{next(self._numbers)}", work.SKILLS[0]))
                    self._progress.done[tenant] += 1
                    await asyncio.sleep(self._pause)
                await tasks.end([agents])
