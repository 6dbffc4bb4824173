"""What can be seen of an installation while the demo runs: workers by their heartbeats, decisions, queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats.errors
from nats.js.errors import NotFoundError

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats.streams import jobs_stream
from headway.bus.tasks import end
from headway.bus.wire.beat import Beat
from headway.control.fleet import Fleet
from headway.control.heartbeats import heard
from headway.control.records import Decided
from headway.control.store import Control

_PERIOD: Final = 0.25


class Watch:
    """Watches all services.

    Attributes:
        waiting: jobs on the server, those in hand included, by service.
        peak: most workers at once, by service.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._control = Control(bus)
        self._fleet = Fleet()
        self._services: set[str] = set()
        self.waiting: dict[str, int] = {}
        self.peak: dict[str, int] = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch]:
        """Watch inside the block."""
        async with self._fleet.listening(self._bus), heard(self._bus, self._note):
            looking = asyncio.ensure_future(self._look())
            try:
                yield self
            finally:
                await end([looking])

    def serving(self, service: str, version: str | None = None) -> list[Beat]:
        """The last heartbeats of the workers that serve."""
        return [
            beat for beat in self._fleet.present(service) if version in {None, beat.version} and beat.state == "serving"
        ]

    def decisions(self, service: str) -> list[Decided]:
        """What the scaler decided on a service, oldest first."""
        found = [one for (of, _), record in self._control.scales.items() if of == service for one in record.history]
        return sorted(found, key=lambda one: one.at)

    def _note(self, beat: Beat) -> None:
        self._services.add(beat.service)
        workers = len(self.serving(beat.service))
        self.peak[beat.service] = max(workers, self.peak.get(beat.service, 0))

    async def _look(self) -> None:
        while True:
            for service in tuple(self._services):
                try:
                    self.waiting[service] = (await self._bus.js.stream_info(jobs_stream(service))).state.messages
                except (NotFoundError, nats.errors.Error, TimeoutError):
                    continue
            try:
                await self._control.refresh()
            except HeadwayError:
                continue
            finally:
                await asyncio.sleep(_PERIOD)
