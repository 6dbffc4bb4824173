"""The control loop of one version: observe its workers and queues, decide how many it needs, apply that, record it.

What a `VersionController` remembers between rounds (histories, deaths, draining workers) only makes its decisions
smoother. A new one reads the desired state from the control records and the observed state from the driver, and
continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from headway.bus.client.ids import unique_id
from headway.bus.errors import HeadwayError
from headway.bus.wire.beat import Beat
from headway.control.fleet import SILENCE, Fleet
from headway.control.records import HISTORY, Decided, Scale, ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key
from headway.scaler import restarts
from headway.scaler.decide import NEW, Decision, History, decide
from headway.scaler.drivers.driver import Driver, ExitedWorker, Launch, RunningWorker
from headway.scaler.errors import Fenced
from headway.scaler.health import Sickness
from headway.scaler.lag import ConsumerLag
from headway.scaler.metrics import VersionStatus
from headway.scaler.observe import WINDOW, Sample, observe
from headway.scaler.plan import Plan, WorkerState, plan
from headway.scaler.restarts import Restarts, RestartVerdict
from headway.scaler.schedule import floor

PREPARE: Final = 10.0
"""Seconds between two checks that a version is ready to be started quickly."""
_STOPPED_KEPT: Final = 600.0
"""Seconds for which a stop order is remembered: the driver reports the worker's end by then, or never."""
_GRACE: Final = 30.0
"""Grace period in seconds of workers that do not report theirs and whose version has none."""

_log = logging.getLogger("headway.scaler")

VersionKey = tuple[str, str]
"""Service and version."""


@dataclass(frozen=True, slots=True)
class DesiredVersion:
    """The control records of a version.

    Attributes:
        service, version: their records; None if there is none.
        written: the last decision on record.
    """

    service: ServiceRecord | None
    version: VersionRecord | None
    written: ScaleRecord | None

    @property
    def stopped(self) -> str | None:
        """Why it must have no workers at any load; None if the load decides, or nothing is known."""
        if self.version is not None and self.version.phase == "retired":
            return "the version is retired"
        return "the service is suspended" if self.service is not None and self.service.suspended else None

    @property
    def unknown(self) -> str | None:
        """Why the version stays as it is: a record is missing or damaged. None if both records are readable."""
        if self.version is None:
            return "there is no readable record of the version: its workers stay as they are"
        if self.service is None:
            return "there is no readable record of the service: the version stays as large as it is"
        return None

    @property
    def live(self) -> bool:
        """Whether it takes new traffic, so that minimum and floors apply."""
        return self.version is not None and self.version.phase == "live"


@dataclass(frozen=True, slots=True)
class ObservedVersion:
    """One round's observation of a version.

    Attributes:
        now: when (monotonic seconds).
        running: its live workers, as listed by the driver.
        sick: its unhealthy workers, and why.
        lanes: its consumers; None if unknown.
        stored: messages ever stored in the queues it takes from.
        elsewhere: messages of `lanes` that other versions' workers may have in hand.
    """

    now: float
    running: Sequence[RunningWorker]
    sick: Mapping[str, Sickness | None]
    lanes: tuple[ConsumerLag, ...] | None
    stored: int
    elsewhere: int


class VersionController:
    """Keeps one version at the number of workers that it needs.

    Args:
        key: service and version.
        driver: starts and stops workers.
        control: where decisions are recorded.
        fleet: all workers, by their heartbeats.
        epoch: returns the epoch of the lease, for the driver.
        launch: returns what workers of a version are started from.
        wake: starts the next round now.
        spawn: runs a task beside the rounds, so that a slow import delays no other version.
        preparing: limits how many versions are imported at the same time.
    """

    def __init__(
        self,
        key: VersionKey,
        *,
        driver: Driver,
        control: Control,
        fleet: Fleet,
        epoch: Callable[[], int],
        launch: Callable[[VersionRecord], Launch],
        wake: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        preparing: asyncio.Semaphore,
    ) -> None:
        self.key = key
        self._driver = driver
        self._control = control
        self._fleet = fleet
        self._epoch = epoch
        self._launch = launch
        self._wake = wake
        self._beside = spawn
        self._preparing = preparing
        self._history: History = NEW
        self._samples: deque[Sample] = deque()
        self._restarts = Restarts()
        self._last_exit = ""
        self._stderr: tuple[str, ...] = ()
        self._first_seen: dict[str, float] = {}
        self._told: dict[str, tuple[float, Beat]] = {}
        """The last heartbeat of its workers and when it came; also of ended workers while a retry of theirs waits."""
        self._draining: dict[str, float] = {}
        self._sick: dict[str, float] = {}
        self._starting: dict[str, float] = {}
        """Workers being started, and when they ran; from then on the driver lists them."""
        self._prepared = -PREPARE
        self._written: ScaleRecord | None = None
        self._unknown: str | None = None
        self._revision: str | None = None

    @property
    def busy(self) -> bool:
        """Whether workers are being started, or the end of a stopped worker is not reported yet."""
        return bool(self._prepared == math.inf or self._starting or self._draining)

    async def reconcile(self, desired: DesiredVersion, observed: ObservedVersion, *, period: float) -> VersionStatus:
        """Bring the version closer to its desired state.

        Args:
            desired: the control records.
            observed: this round's observation.
            period: seconds between two rounds.

        Raises:
            HeadwayError: as the driver and the control records raise; the next round continues from there.
        """
        members = self.observe(observed)
        self._tell(desired.unknown)
        if desired.version is None:
            return self._status(len(members), members)
        self._edited(desired.version.revision)
        decision = self.decide(desired, observed, members, period)
        verdict = self._restarts.verdict(observed.now)
        before = sum(member.draining_since is None for member in members)
        await self.apply(desired.version, desired, decision, members, verdict, observed.now)
        await self.record(desired, decision, verdict, before)
        return self._status(decision.desired, members)

    def _edited(self, revision: str) -> None:
        """Forget the deaths of workers of an earlier revision: this one may be started at once."""
        if self._revision not in {None, revision}:
            self._restarts, self._prepared = Restarts(), -PREPARE
        self._revision = revision

    def _status(self, desired: int, members: Sequence[WorkerState]) -> VersionStatus:
        return VersionStatus(
            *self.key,
            desired=desired,
            members=members,
            starting=len(self._starting.keys() - {member.worker for member in members}),
            lanes=self._samples[-1].lanes if self._samples else None,
        )

    def _tell(self, unknown: str | None) -> None:
        """Log once when nothing is known of the version, and once when its records are readable again."""
        if unknown != self._unknown:
            self._unknown = unknown
            _log.warning("%s %s: %s", *self.key, unknown or "its records can be read again")

    def first_seen(self, worker: str, now: float) -> float:
        """Return when a worker was started or first seen: now, if it is new (monotonic seconds).

        Its own start time is not used: its machine may have another clock.
        """
        return self._first_seen.setdefault(worker, now)

    def listed(self, since: float) -> None:
        """Record that the driver lists what ran by `since` (monotonic seconds): it is no longer being started."""
        self._starting = {worker: ran for worker, ran in self._starting.items() if ran >= since}

    def not_watched(self, seconds: float) -> None:
        """Extend all deadlines by a period in which no round ran."""
        self._draining = {worker: since + seconds for worker, since in self._draining.items()}
        self._sick = {worker: since + seconds for worker, since in self._sick.items()}
        self._history = replace(self._history, since=None, needed=())

    def observe(self, observed: ObservedVersion) -> list[WorkerState]:
        """Return the live workers, as `plan` takes them."""
        living, now = {one.worker for one in observed.running}, observed.now
        self._hear(living, now)
        # A worker's end is reported a moment after it disappears from the list, and must not count as a death then.
        self._draining = {w: since for w, since in self._draining.items() if w in living or since > now - _STOPPED_KEPT}
        return [self._member(one, observed.sick.get(one.worker), now) for one in observed.running]

    def decide(
        self, desired: DesiredVersion, observed: ObservedVersion, members: Sequence[WorkerState], period: float
    ) -> Decision:
        """Decide how many workers the version needs now."""
        if desired.stopped is not None:
            return Decision(0, desired.stopped, NEW)
        if desired.service is None or desired.version is None:
            there = sum(member.draining_since is None for member in members)
            return Decision(there if desired.written is None else desired.written.desired, str(desired.unknown), NEW)
        self._samples.append(self._sample(observed, members))
        while self._samples[0].at < observed.now - WINDOW - period:
            self._samples.popleft()
        scale, live = desired.service.scale, desired.live
        decision = decide(
            scale if live else scale.model_copy(update={"min": 0}),
            observe(self._samples[0] if len(self._samples) > 1 else None, self._samples[-1]),
            self._history,
            minimum=desired.version.minimum if live else 0,
            floor=_floor(scale) if live else 0,
            calls=desired.service.calls and live,
            current=None if desired.written is None else desired.written.desired,
        )
        self._history = decision.history
        return decision

    async def apply(
        self,
        version: VersionRecord,
        desired: DesiredVersion,
        decision: Decision,
        members: Sequence[WorkerState],
        verdict: RestartVerdict,
        now: float,
    ) -> None:
        """Stop surplus and unhealthy workers, and start missing ones."""
        grace = _GRACE if version.grace is None else version.grace
        steps = plan(decision.desired, members, now, grace=grace, may_start=now >= verdict.retry_at)
        await self._stop(steps, now)
        missing = max(0, steps.start - len(self._starting.keys() - {member.worker for member in members}))
        due = desired.live and now >= max(self._prepared + PREPARE, verdict.retry_at)
        if missing or (due and not self._starting):
            self._prepared = math.inf
            workers = [unique_id() for _ in range(missing)]
            self._starting.update(dict.fromkeys(workers, math.inf))
            self._beside(self._spawn(version, workers), f"starting {version.service} {version.version}")

    async def record(self, desired: DesiredVersion, decision: Decision, verdict: RestartVerdict, before: int) -> None:
        """Record the decision and the version's health, if they have changed.

        Args:
            desired: the control records.
            decision: the decision.
            verdict: the verdict on its deaths.
            before: the previous number of workers, for the first decision.
        """
        old = self._written or desired.written
        wanted, history = decision.desired, () if old is None else old.history
        if old is None or old.desired != wanted:
            was = before if old is None else old.desired
            decided = Decided(at=time.time(), before=was, desired=wanted, reason=decision.reason)
            history = (*history, decided)[-HISTORY:]
            _log.info("%s %s: %d -> %d workers: %s", *self.key, was, wanted, decision.reason)
        waits = verdict.retry_at - time.monotonic()
        if verdict.health != (old.health if old is not None else "ok"):
            next_one = f", the next one starts in {waits:.1f} s" if waits > 0 else ""
            found = (verdict.health, verdict.deaths, restarts.WINDOW, next_one)
            _log.warning("%s %s: %s, %d deaths in %g s%s", *self.key, *found)
        record = ScaleRecord(
            service=self.key[0],
            version=self.key[1],
            desired=wanted,
            health=verdict.health,
            deaths=verdict.deaths,
            last_exit=self._last_exit,
            stderr=self._stderr,
            retry_at=round(time.time() + waits, 1) if waits > 0 else None,
            history=history,
        )
        same = {"retry_at": None}
        if old is None or old.model_copy(update=same) != record.model_copy(update=same):
            await self._control.put(scale_key(*self.key), record)
            self._written = record

    def ended(self, worker: ExitedWorker, now: float) -> bool:
        """Record that a worker ended; return whether it died, that is, ended without a stop order."""
        if worker.code == 0 and worker.worker not in self._first_seen:  # it drained under a previous scaler
            return False
        lived = self._lived(worker.worker, now)
        self._first_seen.pop(worker.worker, None)
        self._sick.pop(worker.worker, None)
        if self._draining.pop(worker.worker, None) is not None:
            return False
        how = restarts.cause(worker.code)
        _log.warning("%s %s: %s died (%s)", *self.key, worker.worker, how)
        self._died(now, how, worker.stderr, lived)
        return True

    def _died(self, at: float, how: str, stderr: tuple[str, ...], lived: float = 0.0) -> None:
        self._restarts.died(at, lived)
        self._last_exit, self._stderr = how, stderr

    def _lived(self, worker: str, now: float) -> float:
        """Return for how long a worker has run, in seconds; a worker that was never seen does not count as
        short-lived.
        """
        told = self._told.get(worker)
        said = 0.0 if told is None else told[1].age_s
        return max(said, now - self._first_seen.get(worker, -math.inf))

    def _hear(self, living: Collection[str], now: float) -> None:
        """Keep the last heartbeat of each live worker; forget ended workers once no retry of theirs waits."""
        for worker in living:
            if (heard := self._fleet.of(worker)) is not None:
                self._told[worker] = (heard.at, heard.last)
        self._told = {w: told for w, told in self._told.items() if w in living or _waiting(*told, now)}

    def _grace(self, worker: str) -> float | None:
        """Return the seconds that a worker has to drain, as it reported; None if it did not."""
        told = self._told.get(worker)
        return None if told is None else told[1].grace_s or None

    def _member(self, one: RunningWorker, sickness: Sickness | None, now: float) -> WorkerState:
        heard = self._fleet.of(one.worker)
        last = None if heard is None else heard.last
        broken = sickness is not None and sickness.kind != "outdated"
        if not broken:
            self._sick.pop(one.worker, None)
        draining = self._draining.get(one.worker)
        if draining is None and last is not None and last.state == "draining":
            draining = self._draining[one.worker] = now
        return WorkerState(
            worker=one.worker,
            started=one.started,
            serving=last is not None and last.state == "serving",
            in_hand=0 if last is None else last.in_hand + last.rpc_inflight,
            sick=None if sickness is None else sickness.reason,
            sick_since=self._sick.setdefault(one.worker, now) if broken else None,
            silent=sickness is not None and sickness.kind == "silent",
            can_wait=sickness is not None and sickness.kind == "memory",
            draining_since=draining,
            grace=self._grace(one.worker),
        )

    def _sample(self, observed: ObservedVersion, members: Sequence[WorkerState]) -> Sample:
        heard = {m.worker: one for m in members if (one := self._fleet.of(m.worker)) is not None}
        return Sample(
            at=observed.now,
            lanes=observed.lanes,
            stored=observed.stored,
            beats={worker: one.last for worker, one in heard.items()},
            well=frozenset(m.worker for m in members if m.serving and m.sick is None and m.draining_since is None),
            complete=all(observed.now - one.at < SILENCE for one in heard.values()),
            silent=len(members) - len(heard),
            waiting=sum(_waiting(at, beat, observed.now) for at, beat in self._told.values()),
            elsewhere=observed.elsewhere,
        )

    async def _stop(self, steps: Plan, now: float) -> None:
        for worker, reason in (*steps.drain, *steps.kill):
            kill = worker in self._draining
            _log.info("%s %s: %s %s: %s", *self.key, "killing" if kill else "draining", worker, reason)
            if not kill and worker in self._sick and restarts.counts(self._lived(worker, now)):
                self._died(
                    now, f"replaced: {reason}", ()
                )  # a version whose workers quickly become unhealthy backs off, too
            self._draining.setdefault(worker, now)
            await self._driver.stop(worker, self._epoch(), kill=kill)

    async def _spawn(self, version: VersionRecord, workers: Sequence[str]) -> None:
        """Start workers. Without any to start, only prepare the version before there is work for it."""
        try:
            async with contextlib.nullcontext() if workers else self._preparing:
                launch = self._launch(version)
                await self._driver.prepare(launch)
            results = await asyncio.gather(*(self._begin(launch, w) for w in workers), return_exceptions=True)
        except Exception as error:
            results = [error]
        self._prepared = time.monotonic()
        for failed in results:
            if isinstance(failed, Fenced):
                _log.warning("%s %s: %s", *self.key, failed)
            elif isinstance(failed, Exception):
                self._not_started(failed)
        for worker in workers:
            if self._starting.get(worker) == math.inf:
                del self._starting[worker]
        if workers:
            self._wake()

    async def _begin(self, launch: Launch, worker: str) -> None:
        self._first_seen[worker] = time.monotonic()
        await self._driver.spawn(launch, worker, self._epoch())
        self._starting[worker] = time.monotonic()

    def _not_started(self, error: Exception) -> None:
        if isinstance(error, HeadwayError):
            why, trace = error.message, None
        else:
            why, trace = repr(error), error
        _log.error("%s %s could not be started: %s", *self.key, why, exc_info=trace)
        self._died(time.monotonic(), "could not be started", (why,))


def _waiting(at: float, beat: Beat, now: float) -> int:
    """Return how many messages a worker had handed back that are not due yet, by its heartbeat of some moment."""
    return sum(count for seconds, count in beat.waiting if at + seconds > now)


def _floor(scale: Scale) -> int:
    return floor(scale.floors, datetime.now(UTC))
