"""The scaler's loop: observe all workers and queues, and let each version's controller act on them.

Of several scalers of one pool, the one that holds the lease acts. Another that takes over reads the desired state
from the control records and the observed state from the driver, and continues.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from nats.aio.msg import Msg

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats.streams import EVENTS, event_consumer, jobs_stream
from headway.bus.wire.beat import Beat
from headway.bus.wire.subjects import COMMON
from headway.control.controller import Controller
from headway.control.records import VersionRecord
from headway.control.store import VERSIONS, Control
from headway.control.tenants import loads
from headway.scaler import health
from headway.scaler.drivers.driver import Driver, Launch, RunningWorker
from headway.scaler.errors import Fenced
from headway.scaler.health import Sickness, Vitals
from headway.scaler.lag import ConsumerLag, LagReader, Lags
from headway.scaler.metrics import ScalerMetrics, VersionStatus
from headway.scaler.version import DesiredVersion, ObservedVersion, VersionController, VersionKey

PERIOD: Final = 0.5
"""Seconds between two rounds; a worker's end begins one at once."""
ROUND_TIMEOUT: Final = 10.0
"""Seconds after which a round is abandoned."""
LET_GO: Final = 10.0
"""Seconds between two checks for prepared launches of retired versions."""
LOOK: Final = 1.0
"""Seconds that a round waits for the server's report on the queues."""
_PREPARED_AT_ONCE: Final = 4
"""Most versions imported at the same time: starting hundreds of services must not exhaust a machine's few cores."""

_log = logging.getLogger("headway.scaler")


class Scaler(Controller):
    """One scaler.

    Args:
        bus: a connection in the control or operator role.
        driver: starts and stops workers.
        launch: returns what workers of a version are started from.
        holder: name of this contender, for the lease.
        pool: the pool whose versions it scales; one scaler per pool acts.
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
        self.control = Control(bus, current=True)
        self.rounds = 0
        self.took = 0.0
        """Duration of the last round, in seconds."""
        self._driver = driver
        self._launch = launch
        self._pool = pool
        self._lags = LagReader(bus)
        self._versions: dict[VersionKey, VersionController] = {}
        self._metrics = ScalerMetrics(lambda: self.lease.held)
        self._let_go_at = time.monotonic()
        self._led = 0
        """Latest lease epoch that the driver was given."""
        self._looked: float | None = None
        self._looking: asyncio.Task[Lags] | None = None
        self._preparing = asyncio.Semaphore(_PREPARED_AT_ONCE)
        self.fleet.joined = self._on_join

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Watch the versions' records, to replace workers at once when their code was edited."""
        watch = await self._bus.nc.subscribe(VERSIONS, cb=self._on_record)
        try:
            yield
        finally:
            if not self._bus.nc.is_closed:
                await watch.unsubscribe()

    async def _on_record(self, _: Msg) -> None:
        self.wake()

    def _on_join(self, beat: Beat) -> None:
        """Start the next round when a worker serves that may replace one of an earlier revision."""
        version = self.control.versions.get((beat.service, beat.version))
        if version is not None and version.revision:
            self.wake()

    def beside(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Receive the driver's reports of ended workers, leading or not."""
        return (self._hear_ends(),)

    async def reconcile(self) -> None:
        """Run one round over all versions.

        Raises:
            MissingStream, ConnectionFailed: if the control records cannot be read; then the round does nothing.
            ScalerError: as the driver raises.
        """
        began = time.monotonic()
        await self._lead()
        await self.control.refresh()
        lags = await self._look()
        now = time.monotonic()
        self._note_absence(now)
        running = await self._driver.list()
        by_version = self._by_version(running)
        for version in self._versions.values():
            version.listed(now)
        sick = self._diagnoses(running, now)
        results = await asyncio.gather(
            *(
                self._version(key).reconcile(
                    self._desired(key),
                    ObservedVersion(now, workers, sick, *self._queues(key, lags)),
                    period=self.period,
                )
                for key, workers in by_version.items()
            ),
            return_exceptions=True,
        )
        for key, result in zip(by_version, results, strict=True):
            if isinstance(result, Fenced):
                raise result
            if isinstance(result, HeadwayError):
                _log.warning("%s %s: this round was abandoned: %s", *key, result)
            elif isinstance(result, BaseException):
                _log.error("%s %s: this round was abandoned", *key, exc_info=result)
        self._versions = {key: one for key, one in self._versions.items() if key in by_version or one.busy}
        await self._let_go(now)
        self.rounds += 1
        self.took = time.monotonic() - began
        beats = (member.last for member in self.fleet.members())
        tenants = loads(beat for beat in beats if (beat.service, beat.version) in by_version)
        self._metrics.round((one for one in results if isinstance(one, VersionStatus)), self.took, tenants)

    async def _let_go(self, now: float) -> None:
        """Let the driver release what it prepared for versions that no longer get any work."""
        if now - self._let_go_at < LET_GO or self.control.unreadable:
            return
        self._let_go_at = now
        ours = [one for one in self.control.versions.values() if one.pool == self._pool and one.phase != "retired"]
        if ours:  # without any record, nothing is known
            await self._driver.keep([self._launch(version) for version in ours], self.lease.epoch)

    async def _lead(self) -> None:
        """Have the driver refuse the commands of former leaders."""
        if self._led != self.lease.epoch:
            await self._driver.lead(self.lease.epoch)
            self._led = self.lease.epoch

    async def _look(self) -> Lags:
        """Return the queue state; unknown if the server is slow, so that it does not delay the replacement of
        workers.
        """
        task = self._looking or self.spawn(self._lags.read(time.monotonic()), "reading the queues")
        self._looking = task
        await asyncio.wait([task], timeout=LOOK)
        if not task.done():
            return self._lags.unknown(time.monotonic())
        self._looking = None
        lags = task.result()
        return lags if time.monotonic() - lags.at < 2 * LOOK else self._lags.unknown(time.monotonic())

    def _note_absence(self, now: float) -> None:
        """Report to all versions a gap between rounds that is longer than a round may take."""
        if self._looked is not None and (absent := now - self._looked) > ROUND_TIMEOUT + self.period:
            for version in self._versions.values():
                version.not_watched(absent)
        self._looked = now

    def _by_version(self, running: Sequence[RunningWorker]) -> dict[VersionKey, list[RunningWorker]]:
        """Return the live workers of each version of the pool, including former versions that still have workers
        here.
        """
        ours = (key for key, version in self.control.versions.items() if version.pool == self._pool)
        by_version: dict[VersionKey, list[RunningWorker]] = {key: [] for key in ours}
        for one in running:
            by_version.setdefault((one.service, one.version), []).append(one)
        return by_version

    def _version(self, key: VersionKey) -> VersionController:
        known = self._versions.get(key)
        if known is None:
            known = self._versions[key] = VersionController(
                key,
                driver=self._driver,
                control=self.control,
                fleet=self.fleet,
                epoch=lambda: self.lease.epoch,
                launch=self._launch,
                wake=self.wake,
                spawn=self.spawn,
                preparing=self._preparing,
            )
        return known

    def _desired(self, key: VersionKey) -> DesiredVersion:
        control = self.control
        return DesiredVersion(control.services.get(key[0]), control.versions.get(key), control.scales.get(key))

    def _queues(self, key: VersionKey, lags: Lags) -> tuple[tuple[ConsumerLag, ...] | None, int, int]:
        """Return a version's queues: consumers, messages ever stored, and those held by other versions' workers."""
        service = key[0]
        record = self.control.services.get(service)
        fair = record is not None and record.scale.lag is not None and record.scale.lag.count == "fair"
        known = lags.lanes.get(key, {}).items()
        lanes: tuple[ConsumerLag, ...] | None = tuple(lag for lane, lag in known if lane < COMMON or not fair)
        orphans = {event_consumer(service, event) for event in record.orphans} if record is not None else set[str]()
        events = tuple(
            lane for name, lane in lags.events.items() if name.startswith(f"{service}_") and name not in orphans
        )
        if not lags.known(jobs_stream(service)) or (events and not lags.known(EVENTS)):
            lanes = None
        elif key == self._heaviest(service):  # all versions share the service's events; one version scales by them
            lanes = (*(lanes or ()), *events)
        stored = lags.stored.get(service, 0) + sum(lane.pending + lane.delivered for lane in events)
        in_hand = self.fleet.busy(service) if events else {}
        elsewhere = sum(count for version, count in in_hand.items() if version != key[1])
        return lanes, stored, elsewhere

    def _heaviest(self, service: str) -> VersionKey | None:
        """Return the version of a service with the largest share of the traffic."""
        weights = {key: (one.weight, key[1]) for key, one in self.control.versions.items() if key[0] == service}
        return max(weights, key=lambda key: weights[key], default=None)

    def _diagnoses(self, running: Sequence[RunningWorker], now: float) -> dict[str, Sickness | None]:
        """Return the unhealthy workers."""
        vitals = {one.worker: self._vitals(one, now) for one in running}
        if health.deaf(vitals.values(), now):
            self.fleet.reconnected()  # the silence of the others counts from now on
            return dict.fromkeys(vitals)
        return {
            one.worker: health.diagnose(vitals[one.worker], now, memory=self._memory(one.service))
            or health.outdated(one.revision, self._revision(one))
            for one in running
        }

    def _revision(self, one: RunningWorker) -> str:
        """Return the revision that a worker should run: its own, if no record names one."""
        record = self.control.versions.get((one.service, one.version))
        return (one.revision or "") if record is None else record.revision

    def _vitals(self, one: RunningWorker, now: float) -> Vitals:
        heard = self.fleet.of(one.worker)
        first_seen = self._version((one.service, one.version)).first_seen(one.worker, now)
        return Vitals(
            one.worker,
            started=max(first_seen, self.fleet.listening_since),
            heard=None if heard is None else self.fleet.heard(heard),
            beats=() if heard is None else tuple(heard.beats),
        )

    def _memory(self, service: str) -> int | None:
        record = self.control.services.get(service)
        return None if record is None else record.scale.memory

    async def _hear_ends(self) -> None:
        async for worker in self._driver.exits():
            key = (worker.service, worker.version)
            if self._version(key).ended(worker, time.monotonic()):
                self._metrics.died(*key)
            self.fleet.forget(worker.worker)
            self.wake()
