"""The work of one version's workers in a period of time, added up from their heartbeats."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Final

from headway.bus.telemetry.histogram import BUCKETS
from headway.bus.telemetry.outcomes import Outcome
from headway.bus.wire.beat import Beat

EMPTY: Final[Sequence[int]] = (0,) * (len(BUCKETS) + 1)
"""A histogram without samples."""
_NONE: Final = Outcome(0, 0, {})

LAGS: Final = 200
"""Event loop lags that a count keeps: enough for their median, and bounded."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The results of the requests of one operation or one tenant.

    Attributes:
        tries: calls, jobs and events that ended.
        errors: those that failed.
        latency: counts per bucket; empty where none were kept.
    """

    tries: int = 0
    errors: int = 0
    latency: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """The work of one version's workers in a period of time.

    Attributes:
        tries: calls, jobs and events that ended, successfully or not.
        errors: those that failed, without mistakes of the caller.
        rejected: those that the handler refused, or that were invalid.
        shed: calls refused because the worker was full; not included in tries.
        dead: dead letters.
        latency: per kind, counts per bucket of `headway.bus.telemetry.histogram.BUCKETS`.
        cpu_s: CPU seconds.
        seconds: seconds of life of all workers, added up.
        lags: event loop lags in seconds, of up to `LAGS` heartbeats.
        memory: resident bytes of a worker, the mean of the last heartbeats; 0 without a heartbeat.
        operations, tenants: the same work by operation and by tenant.
        rejections: those that were rejected, by tenant.
    """

    tries: int = 0
    errors: int = 0
    rejected: int = 0
    shed: int = 0
    dead: int = 0
    latency: Mapping[str, Sequence[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: Sequence[float] = ()
    memory: float = 0.0
    operations: Mapping[str, Tally] = field(default_factory=dict)
    tenants: Mapping[str, Tally] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)


NOTHING: Final = Count()
"""The count of a version that did nothing."""


@dataclass(slots=True)
class Total:
    """A count that grows with each heartbeat."""

    tries: int = 0
    errors: int = 0
    rejected: int = 0
    shed: int = 0
    dead: int = 0
    latency: dict[str, list[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS))
    memory: dict[str, int] = field(default_factory=dict)
    operations: dict[str, Tally] = field(default_factory=dict)
    tenants: dict[str, Tally] = field(default_factory=dict)
    rejections: dict[str, int] = field(default_factory=dict)

    def add(self, old: Beat | None, new: Beat) -> None:
        """Add what a worker did between two of its heartbeats.

        Args:
            old: the earlier heartbeat; None adds everything since the worker's start.
            new: the later one.
        """
        failed = new.failed - (old.failed if old else 0)
        rejected = new.rejected - (old.rejected if old else 0)
        self.tries += new.processed - (old.processed if old else 0) + failed + rejected
        self.errors += failed
        self.rejected += rejected
        for tenant, count in new.rejections.items():
            grown = count - (old.rejections.get(tenant, 0) if old else 0)
            self.rejections[tenant] = self.rejections.get(tenant, 0) + grown
        self.shed += new.shed - (old.shed if old else 0)
        self.dead += new.dead - (old.dead if old else 0)
        for kind, counts in new.latency.items():
            before = (old.latency.get(kind) if old else None) or EMPTY
            known = self.latency.setdefault(kind, list(EMPTY))
            for i, (now, then) in enumerate(zip(counts, before, strict=False)):
                known[i] += now - then
        if old is not None:  # start-up cost is not load
            self.cpu_s += new.cpu_s - old.cpu_s
            self.seconds += new.at - old.at
            self.lags.append(new.loop_lag_s)
        self.memory[new.worker] = new.rss_bytes
        _add(self.operations, old.operations if old else {}, new.operations)
        _add(self.tenants, old.tenants if old else {}, new.tenants)

    def count(self) -> Count:
        """Return what was added so far."""
        return Count(
            tries=self.tries,
            errors=self.errors,
            rejected=self.rejected,
            shed=self.shed,
            dead=self.dead,
            latency=self.latency,
            cpu_s=self.cpu_s,
            seconds=self.seconds,
            lags=tuple(self.lags),
            memory=mean(self.memory.values()) if self.memory else 0.0,
            operations=self.operations,
            tenants=self.tenants,
            rejections=self.rejections,
        )


def _add(known: dict[str, Tally], old: Mapping[str, Outcome], new: Mapping[str, Outcome]) -> None:
    """Add the results of each name's requests between two heartbeats."""
    for name, now in new.items():
        then = old.get(name, _NONE)
        if now.tries == then.tries:
            continue
        so_far = known.get(name, Tally())
        latency: Sequence[int] = so_far.latency
        if now.latency:
            counts = list(latency or EMPTY)
            for bucket, count in now.latency.items():
                if 0 <= bucket < len(counts):
                    counts[bucket] += count - then.latency.get(bucket, 0)
            latency = counts
        tries, errors = so_far.tries + now.tries - then.tries, so_far.errors + now.errors - then.errors
        known[name] = Tally(tries, errors, latency)
