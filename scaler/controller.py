"""The scaler's loop: read the whole truth, decide, act, repeat. Of several scalers the one that holds the lease acts.

What it remembers (histories, deaths, who is draining) only makes its decisions smoother: one that is started anew, or
takes over, reads what should be from the control records and what is from the driver, and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import HeadwayError
from headway.bus.nats.streams import EVENTS, jobs_stream
from headway.control.controller import Controller
from headway.control.fleet import SILENCE
from headway.control.records import HISTORY, Decided, ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key
from headway.scaler import health, restarts
from headway.scaler.decide import NEW, Decision, History, decide
from headway.scaler.drivers.driver import Driver, Exited, Launch, Running
from headway.scaler.errors import Fenced
from headway.scaler.health import Seen, Sickness
from headway.scaler.lag import LagReader, Lags, Lane
from headway.scaler.metrics import Metrics
from headway.scaler.metrics import Seen as Told
from headway.scaler.observe import WINDOW, Snapshot, observe
from headway.scaler.plan import Member, plan
from headway.scaler.schedule import floor

PERIOD: Final = 0.5
"""Seconds between two rounds; a worker's end begins one at once."""
ROUND_TIMEOUT: Final = 10.0
LOOK: Final = 1.0
"""Seconds that a round waits for what the server says of the queues."""
_TOLD: Final = 600.0
"""Seconds after which a driver has told of a worker's end, or never will."""
PREPARE: Final = 10.0
"""Seconds after which it is looked again whether a version is ready to be started quickly."""
_PREPARED_AT_ONCE: Final = 4
"""Versions that are imported at the same time; a machine that starts hundreds of services has few cores."""

_log = logging.getLogger("headway.scaler")

Key = tuple[str, str]


@dataclass(slots=True)
class _Version:
    """What is remembered of a version between rounds."""

    history: History = NEW
    moments: deque[Snapshot] = field(default_factory=deque)
    deaths: tuple[restarts.Death, ...] = ()
    last_exit: str = ""
    stderr: tuple[str, ...] = ()
    draining: dict[str, float] = field(default_factory=dict)
    sick: dict[str, float] = field(default_factory=dict)
    starting: dict[str, float] = field(default_factory=dict)
    """Workers being started, and when they ran: the driver lists them from then on."""
    prepared: float = -PREPARE
    written: ScaleRecord | None = None

    def died(self, at: float, how: str, stderr: tuple[str, ...], lived: float = 0.0) -> None:
        """Remember a death that counts."""
        self.deaths = restarts.recent((*self.deaths, restarts.Death(at, lived)), at)
        self.last_exit, self.stderr = how, stderr


class Scaler(Controller):
    """One scaler.

    Args:
        bus: a connection in the control or operator role.
        driver: starts and stops workers.
        launch: what workers of a version are started from.
        holder: who we are, for the lease.
        pool: whose versions are ours; of the scalers of one pool one acts.
        period: seconds between two rounds.
    """

    def __init__(
        self,
        bus: Bus,
        driver: Driver,
        launch: Callable[[VersionRecord], Launch],
        *,
        holder: str,
        pool: str = "",
        period: float = PERIOD,
    ) -> None:
        lease = f"scaler-{pool}" if pool else "scaler"
        super().__init__(bus, "scaler", holder=holder, period=period, timeout=ROUND_TIMEOUT, lease=lease)
        self.control = Control(bus)
        self.rounds = 0
        self.took = 0.0
        """Seconds that the last round took."""
        self._driver = driver
        self._launch = launch
        self._pool = pool
        self._lags = LagReader(bus)
        self._versions: dict[Key, _Version] = {}
        self._born: dict[str, float] = {}
        self._metrics = Metrics(lambda: self.lease.held)
        self._spoken = 0
        self._looking: asyncio.Task[Lags] | None = None
        self._preparing = asyncio.Semaphore(_PREPARED_AT_ONCE)

    def beside(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Hear of each worker's end, leading or not."""
        return (self._hear_ends(),)

    async def _hear_ends(self) -> None:
        async for ended in self._driver.exits():
            self._ended(ended)
            self.wake()

    async def reconcile(self) -> None:
        """One round over all versions.

        Raises:
            MissingStream, ConnectionFailed: if the control records cannot be read: then nothing is done.
            ScalerError: as the driver raises.
        """
        began = time.monotonic()
        if self._spoken != self.lease.epoch:
            await self._driver.lead(self.lease.epoch)
            self._spoken = self.lease.epoch
        await self.control.refresh()
        lags = await self._look()
        listed = now = time.monotonic()
        running = await self._driver.list()
        found = self._diagnoses(running, now)
        ours = (key for key, version in self.control.versions.items() if version.pool == self._pool)
        by_version: dict[Key, list[Running]] = {key: [] for key in ours}
        for one in running:
            by_version.setdefault((one.service, one.version), []).append(one)
        for state in self._versions.values():
            state.starting = {worker: ran for worker, ran in state.starting.items() if ran >= listed}
        results = await asyncio.gather(
            *(self._version(key, workers, found, lags, now) for key, workers in by_version.items()),
            return_exceptions=True,
        )
        for key, result in zip(by_version, results, strict=True):
            if isinstance(result, Fenced):
                raise result
            if isinstance(result, HeadwayError):
                _log.warning("%s %s: this round was given up: %s", *key, result)
            elif isinstance(result, BaseException):
                _log.error("%s %s: this round was given up", *key, exc_info=result)
        self.rounds += 1
        self.took = time.monotonic() - began
        self._metrics.round((one for one in results if isinstance(one, Told)), self.took)

    async def _look(self) -> Lags:
        """What waits now. A server that takes its time holds up nobody's healing: then that is unknown."""
        task = self._looking or self.spawn(self._lags.read(time.monotonic()), "reading the queues")
        self._looking = task
        await asyncio.wait([task], timeout=LOOK)
        if not task.done():
            return self._lags.unknown(time.monotonic())
        self._looking = None
        lags = task.result()
        return lags if time.monotonic() - lags.at < 2 * LOOK else self._lags.unknown(time.monotonic())

    def _diagnoses(self, running: Sequence[Running], now: float) -> dict[str, Sickness | None]:
        """Who is sick, by worker."""
        seen = {one.worker: self._seen(one, now) for one in running}
        if health.deaf(seen.values(), now):
            self.fleet.reconnected()  # whoever is heard first, the others have their time from now on
            return dict.fromkeys(seen)
        return {one.worker: health.diagnose(seen[one.worker], now, memory=self._memory(one.service)) for one in running}

    def _seen(self, one: Running, now: float) -> Seen:
        heard = self.fleet.of(one.worker)
        born = self._born.setdefault(one.worker, now - max(0.0, time.time() - one.started))
        return Seen(
            one.worker,
            started=max(born, self.fleet.listening_since),
            heard=None if heard is None else self.fleet.heard(heard),
            beats=() if heard is None else tuple(heard.beats),
        )

    def _memory(self, service: str) -> int | None:
        record = self.control.services.get(service)
        return None if record is None else record.scale.memory

    async def _version(
        self, key: Key, running: Sequence[Running], found: Mapping[str, Sickness | None], lags: Lags, now: float
    ) -> Told:
        """Decide on one version, and act; returns what was seen and decided."""
        state = self._versions.setdefault(key, _Version())
        version, service = self.control.versions.get(key), self.control.services.get(key[0])
        living = {one.worker for one in running}
        # Its end is told a moment after it is no longer listed, and must not be taken for a death then.
        state.draining = {w: since for w, since in state.draining.items() if w in living or since > now - _TOLD}
        members = [self._member(state, one, found.get(one.worker), now) for one in running]
        if version is None or service is None or version.phase == "retired":
            decision = Decision(0, "the version is retired", NEW)
        elif service.suspended:
            decision = Decision(0, "the service is suspended", NEW)
        else:
            state.moments.append(self._snapshot(key, members, lags, now))
            while state.moments[0].at < now - WINDOW - self.period:
                state.moments.popleft()
            decision = self._decide(state, service, version)
            state.history = decision.history
        verdict = restarts.judge(state.deaths, now)
        steps = plan(
            decision.desired,
            members,
            now,
            grace=30.0 if version is None else version.grace,
            may_start=now >= verdict.retry_at,
        )
        before = len(living - state.draining.keys())
        for worker, reason in (*steps.drain, *steps.kill):
            kill = worker in state.draining
            _log.info("%s %s: %s %s: %s", *key, "killing" if kill else "draining", worker, reason)
            if not kill and worker in state.sick and restarts.counts(now - self._born.get(worker, now)):
                state.died(now, f"replaced: {reason}", ())  # a version whose workers soon fall sick backs off, too
            state.draining.setdefault(worker, now)
            await self._driver.stop(worker, self.lease.epoch, kill=kill)
        if version is not None:
            missing = max(0, steps.start - len(state.starting.keys() - living))
            due = version.phase == "live" and now >= max(state.prepared + PREPARE, verdict.retry_at)
            if missing or (due and not state.starting):
                state.prepared = math.inf
                workers = [unique_id() for _ in range(missing)]
                state.starting.update(dict.fromkeys(workers, math.inf))
                # Beside the rounds: a version that is slow to import holds up no other.
                self.spawn(self._spawn(state, version, workers), f"starting {version.service} {version.version}")
            await self._write(key, state, decision, verdict, before)
        return Told(
            *key,
            desired=decision.desired,
            members=members,
            starting=len(state.starting.keys() - living),
            lanes=state.moments[-1].lanes if state.moments else None,
        )

    def _member(self, state: _Version, one: Running, sickness: Sickness | None, now: float) -> Member:
        heard = self.fleet.of(one.worker)
        last = None if heard is None else heard.last
        if sickness is None:
            state.sick.pop(one.worker, None)
        draining = state.draining.get(one.worker)
        if draining is None and last is not None and last.state == "draining":
            draining = state.draining[one.worker] = now
        return Member(
            worker=one.worker,
            started=one.started,
            serving=last is not None and last.state == "serving",
            in_hand=0 if last is None else last.in_hand + last.rpc_inflight,
            sick=None if sickness is None else sickness.reason,
            sick_since=None if sickness is None else state.sick.setdefault(one.worker, now),
            silent=sickness is not None and sickness.kind == "silent",
            can_wait=sickness is not None and sickness.kind == "memory",
            draining_since=draining,
        )

    def _snapshot(self, key: Key, members: Sequence[Member], lags: Lags, now: float) -> Snapshot:
        service = key[0]
        lanes: tuple[Lane, ...] | None = tuple(lags.lanes.get(key, {}).values())
        events = tuple(lane for name, lane in lags.events.items() if name.startswith(f"{service}_"))
        if not lags.known(jobs_stream(service)) or (events and not lags.known(EVENTS)):
            lanes = None
        elif key == self._heaviest(service):  # all versions share the service's events; one of them scales by them
            lanes = (*(lanes or ()), *events)
        heard = {m.worker: one for m in members if (one := self.fleet.of(m.worker)) is not None}
        return Snapshot(
            at=now,
            lanes=lanes,
            stored=lags.stored.get(service, 0) + sum(lane.pending + lane.delivered for lane in events),
            beats={worker: one.last for worker, one in heard.items()},
            well=frozenset(m.worker for m in members if m.serving and m.sick is None and m.draining_since is None),
            complete=all(now - one.at < SILENCE for one in heard.values()),
        )

    def _heaviest(self, service: str) -> Key:
        return max((key for key in self.control.versions if key[0] == service), key=self._weight)

    def _weight(self, key: Key) -> tuple[int, str]:
        return self.control.versions[key].weight, key[1]

    def _decide(self, state: _Version, service: ServiceRecord, version: VersionRecord) -> Decision:
        live = version.phase == "live"
        written = self.control.scales.get((version.service, version.version))
        return decide(
            service.scale if live else service.scale.model_copy(update={"min": 0}),
            observe(state.moments[0] if len(state.moments) > 1 else None, state.moments[-1]),
            state.history,
            minimum=version.minimum if live else 0,
            floor=floor(service.scale.floors, datetime.now(UTC)) if live else 0,
            calls=service.calls and live,
            current=None if written is None else written.desired,
        )

    async def _spawn(self, state: _Version, version: VersionRecord, workers: Sequence[str]) -> None:
        """Start workers; none if only their version is to be ready before there is work for it."""
        try:
            async with contextlib.nullcontext() if workers else self._preparing:
                launch = self._launch(version)
                await self._driver.prepare(launch)
            results = await asyncio.gather(*(self._begin(state, launch, w) for w in workers), return_exceptions=True)
        except Exception as error:
            results = [error]
        state.prepared = time.monotonic()
        for failed in results:
            if isinstance(failed, Fenced):
                _log.warning("%s %s: %s", version.service, version.version, failed)
            elif isinstance(failed, Exception):
                self._not_started(state, version, failed)
        for worker in workers:
            if state.starting.get(worker) == math.inf:
                del state.starting[worker]
        if workers:
            self.wake()

    async def _begin(self, state: _Version, launch: Launch, worker: str) -> None:
        self._born[worker] = time.monotonic()
        await self._driver.spawn(launch, worker, self.lease.epoch)
        state.starting[worker] = time.monotonic()

    def _not_started(self, state: _Version, version: VersionRecord, error: Exception) -> None:
        if isinstance(error, HeadwayError):
            why, trace = error.message, None
        else:
            why, trace = repr(error), error
        _log.error("%s %s could not be started: %s", version.service, version.version, why, exc_info=trace)
        state.died(time.monotonic(), "could not be started", (why,))

    def _ended(self, ended: Exited) -> None:
        state = self._versions.setdefault((ended.service, ended.version), _Version())
        now = time.monotonic()
        self.fleet.forget(ended.worker)
        lived = now - self._born.pop(ended.worker, 0.0)
        state.sick.pop(ended.worker, None)
        if state.draining.pop(ended.worker, None) is not None:
            return
        how = _how(ended.code)
        self._metrics.died(ended.service, ended.version)
        _log.warning("%s %s: %s died (%s)", ended.service, ended.version, ended.worker, how)
        if restarts.counts(lived):
            state.died(now, how, ended.stderr, lived)
        else:
            state.last_exit, state.stderr = how, ended.stderr

    async def _write(
        self, key: Key, state: _Version, decision: Decision, verdict: restarts.Verdict, before: int
    ) -> None:
        """Record what is wanted and how the version fares, if that has changed."""
        old = state.written or self.control.scales.get(key)
        desired, history = decision.desired, () if old is None else old.history
        if old is None or old.desired != desired:
            was = before if old is None else old.desired
            decided = Decided(at=time.time(), before=was, desired=desired, reason=decision.reason)
            history = (*history, decided)[-HISTORY:]
            _log.info("%s %s: %d -> %d workers: %s", *key, was, desired, decision.reason)
        waits = verdict.retry_at - time.monotonic()
        if verdict.health != (old.health if old is not None else "ok"):
            _log.warning(
                "%s %s: %s, %d deaths in %g s%s",
                *key,
                verdict.health,
                verdict.deaths,
                restarts.WINDOW,
                f", the next one starts in {waits:.1f} s" if waits > 0 else "",
            )
        record = ScaleRecord(
            service=key[0],
            version=key[1],
            desired=desired,
            health=verdict.health,
            deaths=verdict.deaths,
            last_exit=state.last_exit,
            stderr=state.stderr,
            retry_at=round(time.time() + waits, 1) if waits > 0 else None,
            history=history,
        )
        same = {"retry_at": None}
        if old is None or old.model_copy(update=same) != record.model_copy(update=same):
            await self.control.put(scale_key(*key), record)
            state.written = record


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "nobody saw how"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
