"""The heartbeat that a worker publishes every second on `beat.<service>.<version>.<worker>`."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from headway.bus.telemetry.busy import TOLD, Busy
from headway.bus.telemetry.histogram import BUCKETS, Histogram
from headway.bus.telemetry.outcomes import NAMES, OTHERS, Outcome, Outcomes
from headway.bus.wire.periodic import PeriodicJob

__all__ = ["BUCKETS", "Beat", "Counters", "Waiting", "cpu_seconds", "rss_bytes"]

INTERVAL = 1.0
"""Seconds between two heartbeats."""

State = Literal["starting", "serving", "draining", "stopped"]


class Aside(BaseModel):
    """A sidelined tenant: for how many seconds, in which lane, and why."""

    seconds: float
    lane: int
    why: str


class Beat(BaseModel):
    """One heartbeat. Counters and histograms count from the worker's start; a reader takes differences.

    Attributes:
        service, version, worker: identify the worker.
        host, pid: the process it runs in.
        started, at: unix seconds of the worker's clock, which may be wrong: compare them only with each other.
        uptime_s: seconds since the worker started, by a monotonic clock; 0 from workers that do not send it.
        state: phase of the worker's life.
        rpc_inflight: calls being served.
        in_hand: jobs and events being worked on.
        oldest_s: seconds that the oldest call, job or event in progress has taken so far.
        processed: completed successfully.
        failed: failed attempts, including those that are retried.
        rejected: refused by the handler, or invalid.
        retried: handed back to be retried.
        dead: given up as dead letters.
        shed: calls answered 503.
        latency: per kind ("rpc", "job", "on"), counts per bucket of `headway.bus.telemetry.histogram.BUCKETS`.
        cpu_s: CPU seconds used by the process.
        rss_bytes: resident memory.
        loop_lag_s: how late the event loop woke up for this heartbeat, in seconds.
        healthy: whether all health checks of the service pass.
        slots: jobs and events it may work on at once.
        limit: calls it serves at once.
        hung: calls, jobs and events that exceeded their timeout and are still running.
        grace_s: seconds that work in progress has to finish when it drains; 0 from workers that do not send it.
        waiting: (seconds until due, count) of messages handed back to be retried later.
        unstored: how often a record of attempts or a dead letter could not be stored or read.
        operations, tenants: outcomes by name; those of tenants have no latency.
        busy: handler seconds in a minute by tenant, a moving average; the busiest, and "" for all others.
        hands: calls, jobs and events in hand by tenant; those with the most, and "" for all others.
        sidelined: the tenants that this worker sidelines.
        moved: jobs of sidelined tenants that it has moved to other lanes.
        rejections: calls, jobs and events of each tenant that the handler refused, or that are invalid.
        schedules: the periodic jobs of its version.
    """

    service: str
    version: str
    worker: str
    host: str
    pid: int
    started: float
    at: float
    state: State
    rpc_inflight: int
    in_hand: int
    oldest_s: float
    processed: int
    failed: int
    rejected: int
    retried: int
    dead: int
    shed: int
    latency: dict[str, list[int]]
    cpu_s: float
    rss_bytes: int
    loop_lag_s: float
    healthy: bool
    slots: int = 0
    limit: int = 0
    hung: int = 0
    unstored: int = 0
    uptime_s: float = 0.0
    grace_s: float = 0.0
    waiting: list[tuple[float, int]] = []
    operations: dict[str, Outcome] = {}
    tenants: dict[str, Outcome] = {}
    busy: dict[str, float] = {}
    hands: dict[str, int] = {}
    sidelined: dict[str, Aside] = {}
    moved: int = 0
    rejections: dict[str, int] = {}
    schedules: tuple[PeriodicJob, ...] = ()

    @property
    def age_s(self) -> float:
        """Seconds since the worker started, measured by the worker."""
        return self.uptime_s or max(0.0, self.at - self.started)


class Waiting:
    """Counts of messages handed back for a later retry, by due time; later times are counted more coarsely."""

    _STEPS: Final = ((10.0, 1.0), (60.0, 5.0), (600.0, 60.0), (math.inf, 600.0))
    """(Upper bound of the seconds until due, step in seconds)."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: dict[int, int] = {}

    def add(self, delay: float, now: float) -> None:
        """Count a message that is due after a delay.

        Args:
            delay: seconds.
            now: monotonic seconds.
        """
        due = math.ceil(now + delay)
        self._due[due] = self._due.get(due, 0) + 1

    def told(self, now: float) -> list[tuple[float, int]]:
        """Return (seconds until due, count) in order, and forget what is due."""
        self._due = {due: count for due, count in self._due.items() if due > now}
        found: dict[float, int] = {}
        for due, count in self._due.items():
            step = next(step for limit, step in self._STEPS if due - now <= limit)
            after = math.ceil((due - now) / step) * step
            found[after] = found.get(after, 0) + count
        return sorted(found.items())


class Counters:
    """The counters of a worker."""

    __slots__ = (
        "busy",
        "dead",
        "failed",
        "latency",
        "operations",
        "processed",
        "rejected",
        "rejections",
        "retried",
        "shed",
        "tenants",
        "unstored",
        "waiting",
    )

    def __init__(self) -> None:
        self.processed = 0
        self.failed = 0
        self.rejected = 0
        self.retried = 0
        self.dead = 0
        self.shed = 0
        self.waiting = Waiting()
        self.unstored = 0
        self.latency = {"rpc": Histogram(), "job": Histogram(), "on": Histogram()}
        self.operations = Outcomes()
        self.tenants = Outcomes()
        self.busy = Busy()
        self.rejections: dict[str, int] = {}

    def ended(self, operation: str, tenant: str, seconds: float, *, failed: bool, rejected: bool = False) -> None:
        """Count the outcome of a call, job or event for its operation and its tenant."""
        self.operations.add(operation, seconds, failed=failed)
        self.tenants.add(tenant, seconds, failed=failed)
        self.busy.add(tenant, seconds)
        if rejected:
            name = tenant if tenant in self.rejections or len(self.rejections) < NAMES else OTHERS
            self.rejections[name] = self.rejections.get(name, 0) + 1


def by_tenant(tenants: Iterable[str]) -> dict[str, int]:
    """Count by tenant: those with the most, and `OTHERS` for the rest."""
    counts = Counter(tenants)
    shown = dict(counts.most_common(TOLD))
    rest = counts.total() - sum(shown.values())
    return {**shown, OTHERS: rest} if rest else shown


def cpu_seconds() -> float:
    """Return the CPU seconds this process has used."""
    return time.process_time()


def rss_bytes() -> int:
    """Return the resident memory of this process in bytes; on macOS its peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
