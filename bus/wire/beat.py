"""The heartbeat of a worker: what it says of itself each second on `beat.<service>.<version>.<worker>`."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from headway.bus.telemetry.histogram import BUCKETS, Histogram

__all__ = ["BUCKETS", "Beat", "Counters", "cpu_seconds", "rss_bytes"]

INTERVAL = 1.0
"""Seconds between two beats."""

State = Literal["starting", "serving", "draining", "stopped"]


class Beat(BaseModel):
    """One heartbeat. Counters and histograms count from the worker's start; a reader takes differences.

    Attributes:
        service, version, worker: who.
        host, pid: where.
        started, at: unix seconds.
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


class Counters:
    """What a worker counts."""

    __slots__ = ("dead", "failed", "latency", "processed", "rejected", "retried", "shed")

    def __init__(self) -> None:
        self.processed = 0
        self.failed = 0
        self.rejected = 0
        self.retried = 0
        self.dead = 0
        self.shed = 0
        self.latency = {"rpc": Histogram(), "job": Histogram(), "on": Histogram()}


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
