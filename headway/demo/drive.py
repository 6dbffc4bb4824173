"""Sends the demo's work as clients do, kills a worker, and waits for the effects."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

import orjson
from nats.aio.msg import Msg

from headway.bus import tasks
from headway.bus.client.bus import Tenant
from headway.bus.wire import subjects
from headway.bus.wire.beat import Beat
from headway.control.heartbeats import heard
from headway.demo import work
from headway.demo.progress import DemoProgress
from headway.demo.switchboard import PATIENCE, Switchboard
from headway.demo.tally import DemoTally
from headway.demo.work import Caller, Job
from headway.installation import Installation

_CALLERS_AT_ONCE: Final = 6
_KILL_AT: Final = 0.3
"""Share of the faxes after which a worker is killed."""


class Drive:
    """One run against an installation.

    Args:
        running: the installation.
        tally: receives the counts.
        jobs: faxes and voicemails.
        callers: the callers.
        progress: receives what to show.
    """

    def __init__(
        self,
        running: Installation,
        tally: DemoTally,
        jobs: Sequence[Job],
        callers: Sequence[Caller],
        progress: DemoProgress,
    ) -> None:
        self._running = running
        self._progress = progress
        self._tally = tally
        self._jobs = jobs
        self._callers = callers
        self._sent_at: dict[tuple[str, str, str], float] = {}
        self._ended: set[tuple[str, str, str]] = set()
        self._all_ended = asyncio.Event()
        self._enough_faxes = asyncio.Event()
        self._faxes = sum(job.service == "fax" for job in jobs)
        self._retried: dict[str, int] = {}

    async def run(self) -> None:
        """Send everything, kill a worker, wait until all has ended. Raises the clients' errors."""
        bus = self._running.bus
        watches = [
            await bus.nc.subscribe("live.*.fax.*", cb=self._on_change),
            await bus.nc.subscribe("live.*.voicemail.*", cb=self._on_change),
            await bus.nc.subscribe("dead.*.*.*", cb=self._on_dead),
        ]
        await bus.nc.flush()
        try:
            async with heard(bus, self._hear), tasks.group() as group:
                for tenant in work.TENANTS:
                    group.create_task(self._tenant(tenant))
                group.create_task(self._kill_one())
                group.create_task(self._until_ended())
        finally:
            self._tally.retried = sum(self._retried.values())
            for watch in watches:
                await watch.unsubscribe()

    async def _tenant(self, tenant: str) -> None:
        """Do all that one tenant does, over a connection with the rights of a client."""
        async with await self._running.broker.connect("client", tenant=tenant) as bus:
            client = bus.tenant(tenant)
            board = Switchboard(client, self._progress)
            async with tasks.group() as group:
                agents = group.create_task(board.agents())
                jobs = [group.create_task(self._submit(client, job)) for job in self._jobs if job.tenant == tenant]
                turn = asyncio.Semaphore(_CALLERS_AT_ONCE)
                calls = [group.create_task(self._caller(board, c, turn)) for c in self._callers if c.tenant == tenant]
                await asyncio.gather(*jobs, *calls)
                await tasks.end([agents])
            self._tally.counts["calls"].latencies += board.latencies
            self._tally.repeated += board.repeated

    async def _submit(self, client: Tenant, job: Job) -> None:
        self._sent_at[job.tenant, job.service, job.id] = time.monotonic()
        await client.submit(job.service, job.operation, job.request, key=job.id, timeout=PATIENCE)
        self._tally.counts[job.service].sent += 1
        self._progress.sent[job.tenant] += 1

    async def _caller(self, board: Switchboard, caller: Caller, turn: asyncio.Semaphore) -> None:
        async with turn:
            self._tally.counts["calls"].sent += 1
            self._progress.sent[caller.tenant] += 1
            await board.place(caller)
            self._progress.done[caller.tenant] += 1

    async def _kill_one(self) -> None:
        """Kill a worker of `fax` in the middle of its work, as a crash would."""
        await self._enough_faxes.wait()
        os.kill(self._running.workers("fax")[0].pid, signal.SIGKILL)
        self._tally.killed += 1
        self._progress.say("killed a worker of fax with work in progress; other workers take over its faxes")

    async def _until_ended(self) -> None:
        if self._jobs:
            await self._all_ended.wait()

    async def _on_change(self, message: Msg) -> None:
        tenant, kind, id_ = subjects.parse_live(message.subject)
        if kind == "voicemail" or (message.data and orjson.loads(message.data).get("state") == "sent"):
            self._end(tenant, kind, id_)

    async def _on_dead(self, message: Msg) -> None:
        service, tenant, _ = subjects.parse_dead(message.subject)
        request = orjson.loads(message.data)
        self._end(tenant, service, request.get("fax") or request.get("message") or "")

    def _end(self, tenant: str, service: str, id_: str) -> None:
        key = (tenant, service, id_)
        began = self._sent_at.get(key)
        if began is None or key in self._ended:
            return
        self._ended.add(key)
        self._progress.done[tenant] += 1
        self._tally.counts[service].latencies.append(time.monotonic() - began)
        if sum(kind == "fax" for _, kind, _ in self._ended) >= self._faxes * _KILL_AT:
            self._enough_faxes.set()
        if len(self._ended) == len(self._jobs):
            self._all_ended.set()

    def _hear(self, beat: Beat) -> None:
        self._retried[beat.worker] = beat.retried
