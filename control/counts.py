"""What the workers of one version did in a stretch of time, added up from their heartbeats."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headway.bus.telemetry.histogram import BUCKETS
from headway.bus.wire.beat import Beat

EMPTY: Final[Sequence[int]] = (0,) * (len(BUCKETS) + 1)
"""A histogram without samples."""

LAGS: Final = 200
"""Event loop lags that a count keeps: enough for their median, however long it is added to."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the requests of one operation or one tenant.

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
    """What the workers of one version did in a stretch of time.

    Attributes:
        tries: calls, jobs and events that ended, well or not.
        errors: those that did not end well.
        shed: calls refused because the worker was full; not among the tries.
        dead: work that was given up.
        latency: per kind, counts per bucket of `headway.bus.telemetry.histogram.BUCKETS`.
        cpu_s: CPU seconds.
        seconds: seconds that the workers lived, added up.
        lags: event loop lags in seconds, of up to `LAGS` heartbeats.
        memory: resident bytes of a worker, the mean of the last heartbeats; 0 if none was heard.
        operations, tenants: the same work by operation and by tenant.
    """

    tries: int = 0
    errors: int = 0
    shed: int = 0
    dead: int = 0
    latency: Mapping[str, Sequence[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: Sequence[float] = ()
    memory: float = 0.0
    operations: Mapping[str, Tally] = field(default_factory=dict)
    tenants: Mapping[str, Tally] = field(default_factory=dict)


NOTHING: Final = Count()
"""The count of a version that did nothing."""


@dataclass(slots=True)
class Total:
    """A count that grows with each heartbeat."""

    tries: int = 0
    errors: int = 0
    shed: int = 0
    dead: int = 0
    latency: dict[str, list[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS))

    def add(self, old: Beat | None, new: Beat) -> None:
        """Add what a worker did between two of its heartbeats.

        Args:
            old: the earlier heartbeat; None adds everything since the worker's start.
            new: the later one.
        """
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
        if old is not None:  # the cost of starting is not load
            self.cpu_s += new.cpu_s - old.cpu_s
            self.seconds += new.at - old.at
            self.lags.append(new.loop_lag_s)

    def count(self) -> Count:
        """Return what was added so far."""
        return Count(
            self.tries, self.errors, self.shed, self.dead, self.latency, self.cpu_s, self.seconds, tuple(self.lags)
        )
