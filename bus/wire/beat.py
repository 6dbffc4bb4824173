"""The heartbeat of a worker: what it says of itself each second on `beat.<service>.<version>.<worker>`."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from headway.bus.telemetry.histogram import BUCKETS, Histogram
from headway.bus.telemetry.outcomes import Outcome, Outcomes

__all__ = ["BUCKETS", "Beat", "Counters", "Waiting", "cpu_seconds", "rss_bytes"]

INTERVAL = 1.0
"""Seconds between two beats."""

State = Literal["starting", "serving", "draining", "stopped"]


class Beat(BaseModel):
    """One heartbeat. Counters and histograms count from the worker's start; a reader takes differences.

    Attributes:
        service, version, worker: who.
        host, pid: where.
        started, at: unix seconds on the worker's own clock, which may be wrong: compared with each other at most.
        uptime_s: seconds since the worker started, by a steady clock; 0 from workers that do not tell.
        state: what it is doing.
        rpc_inflight: calls being served.
        in_hand: jobs and events being worked on.
        oldest_s: seconds that the oldest call, job or event in hand has taken so far.
        processed: finished well.
        failed: failed attempts, those that are tried again included.
        rejected: refused by the handler, or not valid.
        retried: handed back to be tried again.
        dead: given up as dead letters.
        shed: calls answered 503.
        latency: per kind ("rpc", "job", "on"), counts per bucket of `headway.bus.telemetry.histogram.BUCKETS`.
        cpu_s: CPU seconds used by the process.
        rss_bytes: resident memory.
        loop_lag_s: how late the event loop woke up for this beat.
        healthy: whether all health checks of the service say so.
        slots: jobs and events it may have in hand.
        limit: calls it serves at once.
        hung: calls, jobs and events that ran into their timeout and did not end.
        grace_s: seconds that work in hand has to finish once it drains; 0 from workers that do not tell.
        waiting: (seconds until due, how many) of what it handed back to be tried again later.
        unstored: how often JetStream did not take (or give) a record of attempts or a dead letter.
        operations, tenants: how they ended, by name; tenants without their latency.
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

    @property
    def age_s(self) -> float:
        """Seconds since the worker started, by its own clock."""
        return self.uptime_s or max(0.0, self.at - self.started)


class Waiting:
    """Messages that were handed back to be tried again later, by when they are due. Coarser the later that is."""

    _STEPS: Final = ((10.0, 1.0), (60.0, 5.0), (600.0, 60.0), (math.inf, 600.0))
    """(Seconds until due, up to which, in steps of so many seconds)."""

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
        """Return (seconds until due, how many), and forget what is due."""
        self._due = {due: count for due, count in self._due.items() if due > now}
        found: dict[float, int] = {}
        for due, count in self._due.items():
            step = next(step for limit, step in self._STEPS if due - now <= limit)
            after = math.ceil((due - now) / step) * step
            found[after] = found.get(after, 0) + count
        return sorted(found.items())


class Counters:
    """What a worker counts."""

    __slots__ = (
        "dead",
        "failed",
        "latency",
        "operations",
        "processed",
        "rejected",
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

    def ended(self, operation: str, tenant: str, seconds: float, *, failed: bool) -> None:
        """Count how a call, job or event ended, for its operation and its tenant."""
        self.operations.add(operation, seconds, failed=failed)
        self.tenants.add(tenant, seconds, failed=failed)


def cpu_seconds() -> float:
    """CPU seconds this process has used."""
    return time.process_time()


def rss_bytes() -> int:
    """Resident memory of this process; its peak where the system tells no more (macOS)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
