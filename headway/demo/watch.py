"""The installation as observed by the demo: workers by their heartbeats, decisions, queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats.refusals import asking
from headway.bus.nats.streams import jobs_stream
from headway.bus.tasks import end
from headway.bus.wire.beat import Beat
from headway.control.fleet import Fleet
from headway.control.heartbeats import heard
from headway.control.records import Decided
from headway.control.store import Control
from headway.demo.progress import DemoEvent
from headway.rollouts import PHASES

_PERIOD: Final = 0.25
_TIMEOUT: Final = 2.0


class ServingVersion(NamedTuple):
    """One version of a service, as it is now.

    Attributes:
        weight: its share of the traffic in percent.
        workers: serving workers.
        desired: workers that the scaler wants; None if it has not decided yet.
        in_hand: calls, jobs and events being worked on.
    """

    service: str
    version: str
    weight: int
    workers: int
    desired: int | None
    in_hand: int


class DemoWatch:
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
    async def watching(self) -> AsyncIterator[DemoWatch]:
        """Watch while inside the block."""
        async with self._fleet.listening(self._bus), heard(self._bus, self._note):
            looking = asyncio.ensure_future(self._look())
            try:
                yield self
            finally:
                await end([looking])

    def serving(self, service: str, version: str | None = None) -> list[Beat]:
        """Return the last heartbeats of the workers that serve."""
        return [
            beat for beat in self._fleet.present(service) if version in {None, beat.version} and beat.state == "serving"
        ]

    def decisions(self, service: str) -> list[Decided]:
        """Return the scaler's decisions for a service, oldest first."""
        histories = [record.history for (of, _), record in self._control.scales.items() if of == service]
        found = [one for history in histories for one in history if one.before != one.desired]
        return sorted(found, key=lambda one: one.at)

    def decided(self) -> list[DemoEvent]:
        """Return the decisions of scaler and deployer, each with its reason."""
        found = [
            DemoEvent(one.at, "scaler", f"{service} {version} {one.before} -> {one.desired}: {one.reason}")
            for (service, version), record in self._control.scales.items()
            for one in record.history
            if one.before != one.desired
        ]
        for service, record in self._control.rollouts.items():
            found += [
                DemoEvent(one.at, "rollout", f"{service} {record.version} {PHASES[one.after]}: {one.reason}")
                for one in record.history
            ]
        return found

    def rows(self) -> list[ServingVersion]:
        """Return the versions that have traffic or workers, in the order of their names."""
        found = []
        for (service, version), record in sorted(self._control.versions.items()):
            beats, scale = self.serving(service, version), self._control.scales.get((service, version))
            if record.weight or beats or (scale is not None and scale.desired):
                in_hand = sum(beat.in_hand + beat.rpc_inflight for beat in beats)
                desired = None if scale is None else scale.desired
                found.append(ServingVersion(service, version, record.weight, len(beats), desired, in_hand))
        return found

    def _note(self, beat: Beat) -> None:
        self._services.add(beat.service)
        workers = len(self.serving(beat.service))
        self.peak[beat.service] = max(workers, self.peak.get(beat.service, 0))

    async def _look(self) -> None:
        while True:
            for service in tuple(self._services):
                try:
                    async with asking(f"stream {jobs_stream(service)}", _TIMEOUT):
                        self.waiting[service] = (await self._bus.js.stream_info(jobs_stream(service))).state.messages
                except HeadwayError:
                    continue
            try:
                await self._control.refresh()
            except HeadwayError:
                continue
            finally:
                await asyncio.sleep(_PERIOD)
