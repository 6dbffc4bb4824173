"""The fleet: every worker by its heartbeats, silent workers, and counters by version.

Scaler, deployer, console and demo each keep one. It is only a view: a controller starts with an empty one, and
`settled` says whether it has listened for long enough that silence means something.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from headway.bus.client.bus import Bus
from headway.bus.wire.beat import INTERVAL, Beat
from headway.control.counts import Count, Total
from headway.control.heartbeats import heard

SILENCE: Final = 3 * INTERVAL
"""Seconds without a heartbeat after which a worker is silent: it neither counts nor shows as serving."""
KEPT: Final = 3
"""Heartbeats of each worker that are kept."""
FORGOTTEN: Final = 600.0
"""Seconds of silence after which a worker is dropped from memory, which bounds its size."""

Key = tuple[str, str]
"""Service and version."""


@dataclass(slots=True)
class Member:
    """One worker, as known from its heartbeats.

    Attributes:
        at: when its last heartbeat came, in monotonic seconds.
        beats: its last heartbeats, oldest first; never empty.
    """

    at: float
    beats: deque[Beat] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def last(self) -> Beat:
        """Return its last heartbeat."""
        return self.beats[-1]


class Fleet:
    """All workers of an installation, by their heartbeats."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._totals: dict[Key, Total] = defaultdict(Total)
        self._told: dict[Key, float] = {}
        self._served: dict[Key, float] = {}
        self._pruned = time.monotonic()
        self.joined: Callable[[Beat], object] = lambda _: None
        """Called with the first heartbeat that says that a worker serves; must not block."""
        self.listening_since = self._pruned
        """Monotonic time since when no heartbeat was missed; earlier silence says nothing about a worker."""

    @asynccontextmanager
    async def listening(self, bus: Bus) -> AsyncIterator[None]:
        """Listen to all heartbeats while the context is open.

        Args:
            bus: a connection in the control or operator role.
        """
        bus.on_reconnect(self)
        self.reconnected()
        async with heard(bus, self.hear):
            yield

    def reconnected(self) -> None:
        """Restart listening: workers that seem silent may have sent heartbeats that were missed."""
        self.listening_since = time.monotonic()

    @property
    def settled(self) -> bool:
        """Return whether this has listened for long enough that silence means something."""
        return time.monotonic() - self.listening_since >= SILENCE

    def hear(self, beat: Beat) -> None:
        """Record a heartbeat."""
        now, key = time.monotonic(), (beat.service, beat.version)
        known = self._members.get(beat.worker)
        if known is not None and (known.last.service, known.last.version) != key:
            return  # another service's worker has the name of this one
        old = known.last if known is not None and known.last.started == beat.started else None
        # A worker's own steady clock measures its age: no two machines have to agree on the time.
        if old is not None or beat.age_s <= now - self.listening_since:
            self._totals[key].add(old, beat)
        self._told[key] = now
        if beat.state == "stopped":
            self.forget(beat.worker)
        else:
            member = self._members.setdefault(beat.worker, Member(now))
            served = bool(member.beats) and member.last.state == "serving"
            member.at = now
            member.beats.append(beat)
            if beat.state == "serving" and not served:
                self.joined(beat)
        self._prune(now)

    def forget(self, worker: str) -> None:
        """Remove a worker that is known to have ended."""
        self._members.pop(worker, None)

    def of(self, worker: str) -> Member | None:
        """Return a worker; None if it has sent no heartbeat yet, or has reported that it stopped."""
        return self._members.get(worker)

    def members(self) -> Iterator[Member]:
        """Iterate over all workers that were heard and have not stopped, including silent ones."""
        return iter(list(self._members.values()))

    def heard(self, member: Member) -> float:
        """Return the monotonic time from which a worker's silence counts."""
        return max(member.at, self.listening_since)

    def silent(self, member: Member) -> float:
        """Return for how many seconds a worker has been silent while this listened."""
        return time.monotonic() - self.heard(member)

    def present(self, service: str) -> list[Beat]:
        """Return the last heartbeats of a service's workers that are not silent."""
        return [
            member.last
            for member in self._members.values()
            if member.last.service == service and self.silent(member) < SILENCE
        ]

    def serving(self, service: str) -> dict[str, int]:
        """Count the healthy, serving workers by version."""
        return self._sum(service, lambda beat: int(beat.state == "serving" and beat.healthy))

    def alive(self, service: str) -> dict[str, int]:
        """Count the live workers by version."""
        return self._sum(service, lambda _: 1)

    def busy(self, service: str) -> dict[str, int]:
        """Count the calls, jobs and events in progress, by version."""
        return self._sum(service, lambda beat: beat.in_hand + beat.rpc_inflight)

    def missing(self, service: str, versions: Iterable[str]) -> dict[str, float]:
        """Return for how many seconds no worker of each version has served, as far as observed."""
        now, serving, versions = time.monotonic(), self.serving(service), tuple(versions)
        for version in versions:
            if serving.get(version):
                self._served[service, version] = self._told[service, version] = now
        return {v: now - max(self.listening_since, self._served.get((service, v), 0.0)) for v in versions}

    def take(self, service: str, version: str) -> Count:
        """Return what the workers of a version have done since this was last called."""
        return self._totals.pop((service, version), Total()).count()

    def _sum(self, service: str, value: Callable[[Beat], int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for beat in self.present(service):
            found[beat.version] = found.get(beat.version, 0) + value(beat)
        return found

    def _prune(self, now: float) -> None:
        """Drop workers and versions without recent heartbeats; a version that comes back starts from zero."""
        if now - self._pruned < FORGOTTEN / 10:
            return
        self._pruned = now
        for worker, member in list(self._members.items()):
            if now - self.heard(member) >= FORGOTTEN:
                self.forget(worker)
        for key, told in list(self._told.items()):
            if now - told >= FORGOTTEN:
                del self._told[key]
                self._totals.pop(key, None)
                self._served.pop(key, None)
