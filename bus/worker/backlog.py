"""Watches the backlog of one version by tenant, and keeps the decision who is sidelined.

Every worker watches for itself, from what the server knows, so that no other process is needed. A worker asks only
while a common lane has a backlog or a tenant is sidelined, and it never spends more than a small part of its time on
it. Without an answer it keeps its last decision for a while, and then goes on as if nobody was sidelined.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson
from nats.aio.client import Client

from headway.bus.errors import HeadwayError
from headway.bus.nats import streams
from headway.bus.nats.refusals import translating
from headway.bus.wire import subjects
from headway.bus.wire.beat import Aside
from headway.bus.wire.subjects import COMMON, LANES
from headway.bus.worker import sideline
from headway.bus.worker.lanes import PullState
from headway.bus.worker.sideline import Queued, Sidelined

PERIOD: Final = 0.25
"""Minimum seconds between two looks at the backlog."""
STALE: Final = 10.0
"""Seconds without an answer after which nobody is sidelined any more."""
RECENT: Final = 600.0
"""Seconds for which a tenant counts as a user of its common lane."""
REFUSED: Final = 10.0
"""Seconds for which nobody is sidelined after the server refused to store a moved job."""
_SHARE: Final = 20
"""A look at the backlog is followed by a pause of at least this many times its duration."""
_NAMES: Final = 256
"""Maximum number of tenants remembered for each lane."""
_TIMEOUT: Final = 2.0
_WEIGHT: Final = 0.02
"""Weight of the newest job in the mean duration."""

_log = logging.getLogger("headway.bus")


class Backlog:
    """The backlog of one version, as one of its workers sees it.

    Args:
        nc: the connection.
        stream: the stream of the service's jobs.
        service, version: names of both.
        lanes: the pull state of each lane.
        slots: jobs that the worker does at once.
    """

    def __init__(self, nc: Client, stream: str, service: str, version: str, lanes: list[PullState], slots: int) -> None:
        self._nc = nc
        self._ask = f"$JS.API.STREAM.INFO.{stream}"
        self._filter = subjects.job_version_filter(service, version)
        self._lanes = lanes
        self._slots = slots
        self._recent: list[dict[str, float]] = [{} for _ in range(COMMON)]
        self._weights: dict[str, float] = {}
        self._mean = 0.0
        self._hot = asyncio.Event()
        self._known = 0.0
        self._not_before = 0.0
        self.sidelined: dict[str, Sidelined] = {}
        """The sidelined tenants."""
        self.few = sideline.FEW
        """Number of jobs in a lane above which the backlog is looked at."""

    def saw(self, lane: int, tenant: str, now: float) -> None:
        """Note that a tenant had a job in a common lane."""
        recent = self._recent[lane]
        if len(recent) >= _NAMES and tenant not in recent:
            self._forget(lane, now)
            if len(recent) >= _NAMES:
                return
        recent[tenant] = now

    def took(self, seconds: float) -> None:
        """Note how long a job took."""
        self._mean += _WEIGHT * (seconds - self._mean) if self._mean else seconds

    def notice(self) -> None:
        """Look at the backlog: a common lane has more than a few jobs."""
        self._hot.set()

    def told(self, now: float) -> dict[str, Aside]:
        """Return the sidelined tenants for a heartbeat, and note how many jobs are few now."""
        self.few = sideline.few(self._mean, self._slots)
        return {
            tenant: Aside(seconds=round(now - one.since, 1), lane=one.lane, why=one.why)
            for tenant, one in self.sidelined.items()
        }

    def suspend(self) -> None:
        """Sideline nobody for a while: moved jobs cannot be stored."""
        self._not_before = time.monotonic() + REFUSED
        self._apply({})

    async def watch(self) -> None:
        """Look at the backlog while there is one, until cancelled."""
        while True:
            await self._hot.wait()
            began = time.monotonic()
            queued = await self._queued()
            now = time.monotonic()
            if queued is not None:
                self._known = now
                if now >= self._not_before:
                    self._decide(queued, now)
            elif now - self._known > STALE:
                self._apply({})
            if not self.sidelined and not any(lane.pending > self.few for lane in self._lanes[:COMMON]):
                self._hot.clear()
                for lane in self._lanes:
                    lane.weight = 1.0
            await asyncio.sleep(max(PERIOD, _SHARE * (now - began)))

    def _decide(self, queued: Queued, now: float) -> None:
        for lane in range(COMMON):
            self._forget(lane, now)
        recent = dict(enumerate(self._recent))
        self._apply(sideline.decide(queued, recent, self.sidelined, self.few, now))
        for number, one in enumerate(self._lanes):
            one.weight = sum(self._weights.get(tenant, 1.0) for tenant in queued.get(number, ())) or 1.0

    def _apply(self, sidelined: dict[str, Sidelined]) -> None:
        for tenant, one in sidelined.items():
            if tenant not in self.sidelined:
                _log.info("tenant %s is sidelined: %s", tenant, one.why)
        for tenant in self.sidelined.keys() - sidelined.keys():
            _log.info("tenant %s is no longer sidelined", tenant)
        self.sidelined = sidelined
        homes = {one.home for one in sidelined.values()}
        for number, lane in enumerate(self._lanes[:COMMON]):
            lane.sidelining = number in homes

    def _forget(self, lane: int, now: float) -> None:
        recent = self._recent[lane]
        for tenant in [tenant for tenant, at in recent.items() if now - at > RECENT]:
            del recent[tenant]

    async def _queued(self) -> Queued | None:
        """Return the unfinished jobs by lane and tenant; None without an answer."""
        try:
            with translating(self._ask):
                reply = await self._nc.request(
                    self._ask, orjson.dumps({"subjects_filter": self._filter}), timeout=_TIMEOUT
                )
        except (HeadwayError, TimeoutError):
            return None
        said = orjson.loads(reply.data)
        if "error" in said:
            return None
        self._weights = streams.weights(said["config"].get("metadata"))
        return by_lane(said["state"].get("subjects") or {})


def by_lane(counts: Mapping[str, Any]) -> dict[int, dict[str, int]]:
    """Add up the messages of each subject by lane and tenant."""
    found: dict[int, dict[str, int]] = {lane: {} for lane in range(LANES)}
    for subject, count in counts.items():
        _, _, _, lane, tenant, _ = subject.split(".")
        number = subjects.lane_number(lane)
        if number is not None:
            jobs = found[number]
            jobs[tenant] = jobs.get(tenant, 0) + count
    return found
