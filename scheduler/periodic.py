"""Submits periodic jobs when their time comes: each run once.

Workers announce the periodic jobs of their version in heartbeats; those of the version with the most traffic count.
They are kept in the control record `schedule.<service>`, with the time of the last run of each, so that they go on
while no worker runs. A run is submitted under an id made from its time, and recorded then. A scheduler that dies in
between leaves a run that the next one repeats under the same id: the server stores it once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSimError

from headway.bus.client.bus import Bus
from headway.bus.errors import Conflict, HeadwayError
from headway.bus.periodic import MOST, check
from headway.bus.wire import headers, subjects
from headway.bus.wire.beat import Beat
from headway.bus.wire.codec import encode
from headway.bus.wire.periodic import PeriodicJob, Tick
from headway.control.fleet import Fleet
from headway.control.records import PeriodicState, ScheduleRecord
from headway.control.store import Control, Versioned, schedule_key
from headway.scheduler import ticks

_STORE_TIMEOUT: Final = 2.0

_WARN_EVERY: Final = 10.0
"""Minimum seconds between two warnings about one service."""

_log = logging.getLogger("headway.scheduler")


def merged(
    record: ScheduleRecord | None, service: str, version: str, declared: Iterable[PeriodicJob], now: float
) -> ScheduleRecord:
    """Return the record of a service whose version declares periodic jobs.

    A job that is new, or runs at other times than before, runs first at its next time from now on. Invalid ones are
    left out.

    Args:
        record: the present one.
        service: name of the service.
        version: the version that declares them.
        declared: what it declares.
        now: unix seconds.
    """
    known = record.jobs if record is not None else {}
    jobs: dict[str, PeriodicState] = {}
    for job in list(declared)[:MOST]:
        try:
            check(job)
        except HeadwayError as error:
            _log.warning("%s %s: %s", service, version, error)
            continue
        before = known.get(job.name)
        same = before is not None and before.job.when == job.when
        jobs[job.name] = before.model_copy(update={"job": job}) if before and same else PeriodicState(job=job, last=now)
    return ScheduleRecord(service=service, version=version, jobs=jobs)


def speaker(beats: Iterable[Beat], weights: dict[str, int]) -> Beat | None:
    """Return the heartbeat whose periodic jobs count; None if the version with the most traffic has no worker now.

    Args:
        beats: the last heartbeats of a service's workers.
        weights: the share of traffic of each version; without any, the version that started last counts.
    """
    serving = [beat for beat in beats if beat.state == "serving"]
    most = max(weights.values(), default=0)
    if most > 0:
        leading = {version for version, weight in weights.items() if weight == most}
        serving = [beat for beat in serving if beat.version in leading]
    return max(serving, key=lambda beat: beat.started, default=None)


class PeriodicJobs:
    """Submits the periodic jobs of all services.

    Args:
        bus: a connection in the control or operator role.
        fleet: the workers, by their heartbeats.
        leading: returns whether this process may act now.
        clock: returns unix seconds.
    """

    def __init__(self, bus: Bus, fleet: Fleet, leading: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._bus = bus
        self._fleet = fleet
        self._leading = leading
        self._clock = clock
        self._control = Control(bus, current=True)
        self._records: dict[str, Versioned[ScheduleRecord]] = {}
        self._warned: dict[str, float] = {}

    def forget(self) -> None:
        """Read all records again: another scheduler may have changed them."""
        self._records.clear()

    async def submit_due(self) -> float | None:
        """Submit the runs that are due; return the time of the next one in unix seconds, None without any.

        Raises:
            MissingStream, ConnectionFailed: if the control records cannot be read.
        """
        await self._control.refresh()
        heard = {member.last.service for member in self._fleet.members() if member.last.schedules}
        following: list[float] = []
        for service in sorted(heard | self._control.schedules.keys()):
            try:
                following += await self._service(service)
            except Conflict:
                self._records.pop(service, None)
            except (HeadwayError, CronSimError) as error:
                self._records.pop(service, None)
                self._warn(service, error)
        return min(following, default=None)

    def _warn(self, service: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned.get(service, -_WARN_EVERY) >= _WARN_EVERY:
            self._warned[service] = now
            _log.warning("periodic jobs of %s wait: %s", service, error)

    async def _service(self, service: str) -> list[float]:
        """Submit the runs of one service that are due; return when its jobs run next."""
        held = self._records.get(service)
        mirrored = self._control.schedules.get(service)
        if held is None or (mirrored is not None and mirrored != held.value):  # a command paused or resumed a job
            held = await self._control.get(schedule_key(service), ScheduleRecord) or held
        record = held.value if held is not None else None
        weights = {v: one.weight for (s, v), one in self._control.versions.items() if s == service}
        beat = speaker(self._fleet.present(service), weights)
        if beat is not None:
            fresh = merged(record, service, beat.version, beat.schedules, self._clock())
            if fresh != record:
                held = await self._put(service, fresh, held)
        if held is None:
            return []
        self._records[service] = held
        known = self._control.services.get(service)
        if known is not None and known.suspended:
            return []
        return [at for name in held.value.jobs if (at := await self._job(service, name)) is not None]

    async def _job(self, service: str, name: str) -> float | None:
        """Submit the runs of one job that are due; return when it runs next."""
        state = self._records[service].value.jobs[name]
        if state.paused:
            return None
        now = self._clock()
        found = ticks.due(state.job, state.last, now)
        for at in found.ticks:
            if not self._leading():
                return None
            await self._submit(service, name, at)
            held = self._records[service]
            jobs = {**held.value.jobs, name: held.value.jobs[name].model_copy(update={"last": at})}
            fresh = held.value.model_copy(update={"jobs": jobs})
            self._records[service] = await self._put(service, fresh, held)
        return now if found.more else ticks.next_tick(state.job, now)

    async def _submit(self, service: str, name: str, at: float) -> None:
        tick = Tick(at=datetime.fromtimestamp(at, UTC))
        sent = {headers.MESSAGE_ID: self._bus.ids.own(f"tick.{service}.{name}.{round(at * 1000)}")}
        await self._bus.store(subjects.periodic(service, name), encode(tick), sent, _STORE_TIMEOUT)

    async def _put(
        self, service: str, record: ScheduleRecord, held: Versioned[ScheduleRecord] | None
    ) -> Versioned[ScheduleRecord]:
        key = schedule_key(service)
        expect = held.revision if held is not None else await self._control.marker(key)
        return Versioned(record, await self._control.put(key, record, expect=expect))
