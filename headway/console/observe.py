"""The observer: repeatedly reads records, heartbeats, queues, dead letters, servers and leases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from headway import status
from headway.broker.broker import Broker
from headway.broker.routes import anywhere
from headway.bus.client import dead
from headway.bus.client.bus import Bus
from headway.bus.client.dead import DeadLetter
from headway.bus.errors import MissingStream
from headway.bus.nats.refusals import asking
from headway.bus.nats.streams import DEAD, MAX_ACK_PENDING
from headway.console.meter import Meter
from headway.console.snapshot import FleetSnapshot, Key, WorkerView
from headway.control.fleet import Fleet, Member
from headway.control.records import LeaseRecord
from headway.control.store import Control
from headway.doctor import servers_seen
from headway.doctor.collect import Blind
from headway.doctor.facts import ServerFacts
from headway.scaler.lag import LagReader, Lags, together
from headway.status import JobQueue

LETTERS: Final = 200
"""Number of dead letters that are shown, the latest ones."""
FORGOTTEN: Final = 15.0
"""Seconds of silence after which a worker is no longer shown."""
RARELY: Final = 5.0
"""Seconds between two reads of what seldom changes: servers, leases."""
_TIMEOUT: Final = 5.0


class Observer:
    """Observes a whole installation.

    Args:
        broker: of the installation, with its keys: for routes and servers.
        bus: a connection in the role operator.
        fleet: the view of the workers; its owner does the listening.
    """

    def __init__(self, broker: Broker, bus: Bus, fleet: Fleet) -> None:
        self._broker = broker
        self._bus = bus
        self._control = Control(bus)
        self._fleet = fleet
        self._lags = LagReader(bus)
        self._letters = Letters(bus)
        self._meter = Meter()
        self._servers: tuple[ServerFacts, ...] = ()
        self._leases: Mapping[str, LeaseRecord] = {}
        self._rarely = 0.0
        self._keys: set[Key] = set()

    def note(self) -> None:
        """Record what the fleet has heard. Call it at least every few seconds."""
        now = time.monotonic()
        self._keys = {(one.last.service, one.last.version) for one in self._fleet.members() if self._shown(one)}
        self._keys |= self._control.versions.keys()
        for key in self._keys:
            self._meter.note(now, key, self._fleet.take(*key))

    async def look(self) -> FleetSnapshot:
        """Take a snapshot. Parts that do not answer are listed in `blind`.

        Raises:
            HeadwayError: if not even the control records can be read.
        """
        now, blind = time.monotonic(), Blind()
        await self._refresh()
        letters = blind.unless("dead letters", self._letters.look(), None)
        routes = blind.unless("routes", self._routes(), None)
        lags, found, weights = await asyncio.gather(self._lags.read(now), letters, routes)
        if now >= self._rarely:
            self._rarely = now + RARELY
            self._servers, self._leases = await asyncio.gather(
                blind.unless("servers", servers_seen.look(self._broker), self._servers),
                blind.unless("leases", status.leases(self._bus), self._leases),
            )
        if lags.blind or lags.unknown:
            blind.reasons["queues"] = ", ".join(sorted(lags.unknown)) or "JetStream does not answer"
        if self._control.unreadable:
            blind.reasons["control records"] = ", ".join(sorted(self._control.unreadable))
        workers = self._workers()
        keys = self._keys
        shown, counts = found or ((), {})
        beats = [one.beat for one in workers]
        summary = status.summarise(self._broker.url, beats, _queues(lags), weights, counts, self._control.scales)
        return FleetSnapshot(
            at=time.time(),
            status=summary,
            services=self._control.services,
            versions=self._control.versions,
            scales=self._control.scales,
            rollouts=self._control.rollouts,
            unreadable=self._control.unreadable,
            workers=workers,
            flows={key: self._meter.flow(now, [key]) for key in keys},
            together={
                name: self._meter.flow(now, [key for key in keys if key[0] == name]) for name in {k[0] for k in keys}
            },
            oldest={key: together(lanes.values()).oldest_s for key, lanes in lags.lanes.items() if lanes},
            crowded={
                key: max(lane.ack_pending for lane in lanes.values()) / MAX_ACK_PENDING
                for key, lanes in lags.lanes.items()
                if lanes
            },
            letters=shown,
            servers=self._servers,
            leases=self._leases,
            blind=blind.reasons,
            headway=version("headway"),
        )

    async def _refresh(self) -> None:
        try:
            await self._control.refresh()
        except MissingStream:
            return  # nothing was declared here yet

    async def _routes(self) -> dict[str, dict[str, int]] | None:
        return anywhere(await self._broker.routes())

    def _shown(self, one: Member) -> bool:
        return self._fleet.silent(one) < FORGOTTEN

    def _workers(self) -> tuple[WorkerView, ...]:
        found = []
        for one in filter(self._shown, self._fleet.members()):
            silent = self._fleet.silent(one)
            first, last = one.beats[0], one.last
            lived = last.at - first.at
            found.append(WorkerView(last, silent, (last.cpu_s - first.cpu_s) / lived if lived > 0 else 0.0))
        return tuple(sorted(found, key=lambda one: (one.beat.service, one.beat.version, one.beat.started)))


class Letters:
    """The latest dead letters, read again only when they changed.

    Args:
        bus: a connection in the role operator.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._seen: tuple[Any, ...] | None = None
        self._kept: tuple[DeadLetter, ...] = ()
        self._counts: dict[str, int] = {}

    async def look(self) -> tuple[tuple[DeadLetter, ...], dict[str, int]]:
        """Return the latest dead letters, oldest first, and their number by service.

        Raises:
        StoreError, ConnectionFailed: as `headway.bus.client.dead.list_`.
        """
        try:
            async with asking(f"stream {DEAD}", _TIMEOUT):
                state = (await self._bus.js.stream_info(DEAD)).state
        except MissingStream:
            return (), {}
        seen = (state.first_seq, state.last_seq, state.messages)
        if seen != self._seen:
            start = state.first_seq if state.messages <= LETTERS else state.last_seq - LETTERS + 1
            known = {letter.seq: letter for letter in self._kept}
            kept, next_ = (known, max(known) + 1) if self._only_more(seen) and known else ({}, start)
            async for letter in dead.list_(self._bus.js, start=next_):
                kept[letter.seq] = letter
            self._kept = tuple(kept[seq] for seq in sorted(kept)[-LETTERS:])
            self._counts = await status.dead_letters(self._bus)
            self._seen = seen
        return self._kept, self._counts

    def _only_more(self, seen: tuple[Any, ...]) -> bool:
        """Return whether letters were only added since."""
        if self._seen is None:
            return False
        (first, last, count), (before_first, before_last, before) = seen, self._seen
        return bool(first == before_first and last - before_last == count - before > 0)


def _queues(lags: Lags) -> dict[Key, JobQueue]:
    totals = {key: together(lanes.values()) for key, lanes in lags.lanes.items()}
    return {key: JobQueue(waiting=total.pending, in_hand=total.ack_pending) for key, total in totals.items()}
