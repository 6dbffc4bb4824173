"""What the deployer hears: the heartbeats of all workers, summed up by version."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from headway.bus.wire.beat import INTERVAL, Beat
from headway.deployer.evidence import EMPTY, LAGS, Count

SILENT: Final = 3.5 * INTERVAL
"""Seconds without a heartbeat after which a worker is not counted on."""
SETTLED: Final = 2.5 * INTERVAL
"""Seconds after which all that live have been heard."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Worker:
    beat: Beat
    at: float


@dataclass(slots=True)
class _Sum:
    """What the workers of one version have done since we listen."""

    tries: int = 0
    errors: int = 0
    shed: int = 0
    dead: int = 0
    latency: dict[str, list[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS))

    def add(self, old: Beat | None, new: Beat) -> None:
        """What a worker did between two beats, or since its start."""
        failed = new.failed + new.rejected - (old.failed + old.rejected if old else 0)
        self.tries += new.processed - (old.processed if old else 0) + failed
        self.errors += failed
        self.shed += new.shed - (old.shed if old else 0)
        self.dead += new.dead - (old.dead if old else 0)
        for kind, counts in new.latency.items():
            before = (old.latency.get(kind) if old else None) or EMPTY
            known = self.latency.setdefault(kind, list(EMPTY))
            for i, (now, then) in enumerate(zip(counts, before, strict=False)):
                known[i] += now - then
        if old is not None:  # what starting costs is no load
            self.cpu_s += new.cpu_s - old.cpu_s
            self.seconds += new.at - old.at
            self.lags.append(new.loop_lag_s)

    def count(self) -> Count:
        """All of it."""
        return Count(
            self.tries, self.errors, self.shed, self.dead, self.latency, self.cpu_s, self.seconds, tuple(self.lags)
        )


class Hearing:
    """What was heard of which version."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._sums: dict[Key, _Sum] = defaultdict(_Sum)
        self._served: dict[Key, float] = {}
        self._since = time.monotonic()
        self._started = time.time()

    def reconnected(self) -> None:
        """Silence until now was ours; called by the bus, and by whoever finds that we were late ourselves."""
        self._since, self._started = time.monotonic(), time.time()

    @property
    def settled(self) -> bool:
        """Whether silence means something."""
        return time.monotonic() - self._since >= SETTLED

    def take(self, service: str, version: str) -> Count:
        """What the workers of a version have done since this was last asked."""
        return self._sums.pop((service, version), _Sum()).count()

    def serving(self, service: str) -> dict[str, int]:
        """Workers that serve and are well, by version."""
        return self._count(service, lambda beat: int(beat.state == "serving" and beat.healthy))

    def alive(self, service: str) -> dict[str, int]:
        """Workers that are there, by version."""
        return self._count(service, lambda _: 1)

    def busy(self, service: str) -> dict[str, int]:
        """Calls, jobs and events in hand, by version."""
        return self._count(service, lambda beat: beat.in_hand + beat.rpc_inflight)

    def missing(self, service: str, versions: Iterable[str]) -> dict[str, float]:
        """For how many seconds no worker of a version has served, as far as we heard."""
        now, serving = time.monotonic(), self.serving(service)
        for version in versions:
            if serving.get(version):
                self._served[service, version] = now
        return {v: now - max(self._since, self._served.get((service, v), 0.0)) for v in versions}

    def _count(self, service: str, value: Callable[[Beat], int]) -> dict[str, int]:
        now = time.monotonic()
        found: dict[str, int] = {}
        for worker, known in list(self._workers.items()):
            if now - known.at >= SILENT and self.settled:
                self._workers.pop(worker)
            elif known.beat.service == service:
                found[known.beat.version] = found.get(known.beat.version, 0) + value(known.beat)
        return found

    def hear(self, beat: Beat) -> None:
        """A worker has spoken."""
        known = self._workers.get(beat.worker)
        old = known.beat if known is not None and known.beat.started == beat.started else None
        if old is not None or beat.started >= self._started:
            self._sums[beat.service, beat.version].add(old, beat)
        if beat.state == "stopped":
            self._workers.pop(beat.worker, None)
        else:
            self._workers[beat.worker] = _Worker(beat, time.monotonic())
