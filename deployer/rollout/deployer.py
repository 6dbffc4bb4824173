"""The deployer: read everything, plan, act, repeat. Of several replicas the one with the lease acts.

It keeps no state that a successor would miss: a rollout's progress is in its record, written after each effect with
compare-and-set. Services are handled concurrently; a slow one delays no other. A command that writes into a record
wakes the deployer at once, and a rollback interrupts whatever is being done for that service.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from headway.broker.broker import Broker
from headway.broker.errors import NotReady, RouteRefused
from headway.bus.client.bus import Bus
from headway.bus.errors import Conflict, ConnectionFailed, HeadwayError, NotStored
from headway.control.controller import Controller
from headway.control.lease import TTL
from headway.control.records import RolloutRecord
from headway.control.store import ROLLOUTS, Control, Versioned, parse_subject, rollout_key
from headway.deployer import bounds, garbage, queues
from headway.deployer.cleaner import Cleaner
from headway.deployer.errors import NotLeading
from headway.deployer.metrics import DeployerMetrics
from headway.deployer.rollout.comparison import Comparison
from headway.deployer.rollout.effects import Effects, Prove
from headway.deployer.rollout.plan import RolloutFacts, RolloutPlan, because, noted, plan
from headway.deployer.rollout.watch import Watch

PERIOD: Final = 0.5
"""Seconds between two rounds."""
STRAYS: Final = 5.0
"""Seconds between two searches for jobs left with a removed version."""
CLEAN: Final = 10.0
"""Seconds between two cleanups of a service's retired versions."""
BOUNDS: Final = 2.0
"""Seconds between two checks of the queues' sizes."""
ROUND_TIMEOUT: Final = 30.0
_READ_TIMEOUT: Final = 15.0
"""Time limit for reading the control records, in seconds."""

_log = logging.getLogger("headway.deployer")


class Deployer(Controller):
    """One deployer.

    Args:
        bus: a connection in the control or operator role.
        broker: of the server, with the installation's keys.
        holder: name of this contender, for the lease.
        prove: checks images and contracts before a version is started.
        period: seconds between two rounds.
        ttl: seconds after which another deployer takes over from a dead one.
        keep: retired versions of each service whose records and images stay, for rollbacks.
        spare: retired versions of each service that keep their consumers for a while.
        clean_every: seconds between two cleanups of a service's retired versions.
    """

    def __init__(
        self,
        bus: Bus,
        broker: Broker,
        *,
        holder: str,
        prove: Prove,
        period: float = PERIOD,
        ttl: float = TTL,
        keep: int = garbage.KEEP,
        spare: int = garbage.SPARE,
        clean_every: float = CLEAN,
    ) -> None:
        super().__init__(bus, "deployer", holder=holder, period=period, timeout=_READ_TIMEOUT, ttl=ttl)
        self.control = Control(bus, current=True)
        self.effects = Effects(bus, broker, self.control, prove, lambda: self.lease.held)
        self._broker = broker
        self._metrics = DeployerMetrics(lambda: self.lease.held)
        self._comparisons: dict[str, Comparison] = {}
        self._watches: dict[str, Watch] = {}
        self._looked: dict[str, float] = {}
        self._cleaner = Cleaner(bus, broker, self.control, self.fleet, lambda: self.lease.held, keep=keep, spare=spare)
        self._clean_every = clean_every
        self._bounded = -math.inf
        self._cleaned: dict[str, float] = {}
        self._cleaning: asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers: dict[str, int] = {}
        """The rollout of each service that is being handled."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Watch the rollouts' records, to act on commands at once."""
        records = self._bus.records
        watch = await records.nc.subscribe(ROLLOUTS, cb=self._on_record)
        try:
            yield
        finally:
            if not records.nc.is_closed:
                await watch.unsubscribe()

    async def _on_record(self, message: Msg) -> None:
        """Act on a rollout's new record at once. A rollback interrupts everything else."""
        known = parse_subject(message.subject)
        if known is None:  # Headway writes no such key
            return
        service = known.owner
        task = self._tasks.get(service)
        try:
            record = RolloutRecord.model_validate_json(message.data) if message.data else None
        except ValidationError:
            record = None
        if task is not None and record is not None:
            back = record.abort is not None and _forward(record)
            if back or record.number != self._numbers.get(service, record.number):  # or it is superseded
                task.cancel()
        self.wake()

    async def reconcile(self) -> None:
        """Do one round: handle each service that has something to do.

        Raises:
            MissingStream, ConnectionFailed: if the control records cannot be read; then the round does nothing.
        """
        await self.control.refresh()
        self._metrics.round(self.control.versions.values(), self.control.rollouts.values())
        for service, record in self.control.rollouts.items():
            self._begin(service, record)
        if self._cleaning is None or self._cleaning.done():
            self._cleaning = self.spawn(self._clean(), "cleaning up")

    async def _clean(self) -> None:
        """Clean up after the services that are due, one after the other: nothing waits for it."""
        if time.monotonic() - self._bounded >= min(BOUNDS, self._clean_every):
            self._bounded = time.monotonic()
            await self._bounds()
        for service in [*self.control.services]:
            now = time.monotonic()
            if now - self._cleaned.get(service, -math.inf) < self._clean_every or not self.lease.held:
                continue
            self._cleaned[service] = now
            try:
                async with asyncio.timeout(ROUND_TIMEOUT):
                    await self._cleaner.clean(service)
            except (HeadwayError, TimeoutError) as error:
                _log.warning("%s: what retired versions left is cleaned up the next time: %s", service, error)

    def _begin(self, service: str, record: RolloutRecord) -> None:
        """Start on a service, unless it is being handled or there is hardly anything to do."""
        now = time.monotonic()
        if service in self._tasks or (record.over and now - self._looked.get(service, 0.0) < STRAYS):
            return
        self._looked[service] = now
        task = self._tasks[service] = self.spawn(self._service(service), f"{service}: this round")
        task.add_done_callback(lambda ended: self._ended(service, ended))

    def _ended(self, service: str, task: asyncio.Task[None]) -> None:
        del self._tasks[service]
        if task.cancelled():
            self.wake()

    async def _bounds(self) -> None:
        try:
            async with asyncio.timeout(ROUND_TIMEOUT):
                await bounds.apply(self._bus)
        except (HeadwayError, TimeoutError) as error:
            _log.warning("bounds of queues stay as they are until the next time: %s", error)

    async def _service(self, service: str) -> None:
        """Take as many steps of one service as possible at once."""
        try:
            async with asyncio.timeout(ROUND_TIMEOUT):
                while await self._step(service):
                    pass
        except (HeadwayError, TimeoutError) as error:
            _log.warning("%s: this round was given up, the next one tries again: %s", service, error)

    async def _step(self, service: str) -> bool:
        """Take a step; return whether the next one can follow at once.

        Raises:
            HeadwayError: one of its subclasses, if a read or write failed.
        """
        kept = await self.control.get(rollout_key(service), RolloutRecord)
        known = self.control.services.get(service)
        if kept is None or (known is not None and known.suspended):  # `headway up` has stopped: it has no workers
            return False
        record = kept.value
        self._numbers[service] = record.number
        made = plan(record, await self._facts(record), time.time())
        if not self.lease.held:
            return False
        then = self._watches[service].noted(await self._act(record, made))
        if then == record:
            return False
        if then.phase != record.phase or then.step != record.step:
            _log.info("%s %s: %s -> %s: %s", service, then.version, record.phase, then.phase, then.history[-1].reason)
        return await self._write(service, kept, then) and then.phase != record.phase

    async def _act(self, record: RolloutRecord, made: RolloutPlan) -> RolloutRecord:
        """Carry out the plan; return the resulting record."""
        moved = 0
        try:
            if not made.first:
                await self.effects.fleet(record.service, made.fleet)
            if made.effect is not None:
                moved = await self.effects.have(record, made.effect)
            if made.first:
                await self.effects.fleet(record.service, made.fleet)
        except NotLeading:
            raise
        except HeadwayError as error:
            # A server that does not answer for a moment says nothing about the version.
            if made.otherwise is None or isinstance(error, (ConnectionFailed, NotReady, NotStored, RouteRefused)):
                return noted(record, error.message)
            return because(made.otherwise, error.message)
        return made.then.model_copy(update={"took_over": made.then.took_over + moved}) if moved else made.then

    async def _write(self, service: str, kept: Versioned[RolloutRecord], then: RolloutRecord) -> bool:
        """Write the record; return False if it was written meanwhile by another process."""
        try:
            await self.control.put(rollout_key(service), then, expect=kept.revision)
        except Conflict:
            self.wake()
            return False
        return True

    async def _facts(self, record: RolloutRecord) -> RolloutFacts:
        """Return the facts about a rollout's versions; nothing during a rollback, which must not wait."""
        watch = self._watches.setdefault(record.service, Watch())
        watched = watch.look(record)
        if record.phase == "back" or (record.abort is not None and _forward(record)):
            return RolloutFacts(watched=watched)
        service, fleet = record.service, self.fleet
        names = [record.version, *([record.before] if record.before else [])]
        queued = record.phase in {"drain", "take-over"} or record.over or bool(record.remains)
        routed = record.phase == "judge" or record.over or (record.phase == "verify" and bool(record.remains))
        comparison = await self._compare(record)
        return RolloutFacts(
            settled=fleet.settled,
            route=(await self._broker.routes()).get(service, {}) if routed else None,
            serving=fleet.serving(service),
            missing=fleet.missing(service, names),
            alive=fleet.alive(service),
            busy=fleet.busy(service),
            left=queues.left(await queues.consumers(self._bus, service)) if queued else None,
            looping=self._looping(service, names),
            verdict=None if comparison is None else comparison.verdict,
            judged_for=0.0 if comparison is None else comparison.seconds,
            watched=watched,
        )

    async def _compare(self, record: RolloutRecord) -> Comparison | None:
        """Compare the versions of a rollout that is judged, or that may still be rolled back."""
        if record.phase not in {"judge", "drain", "standby"} or record.urgent:
            if record.over:
                self._comparisons.pop(record.service, None)
            return None
        comparison = self._comparisons.get(record.service)
        if comparison is None or not comparison.of(record):
            comparison = await Comparison.resumed(self.control, record, self.fleet)
            self._comparisons[record.service] = comparison
        await comparison.go_on(self._bus, self.control, record)
        return comparison

    def _looping(self, service: str, versions: list[str]) -> dict[str, str]:
        """Return the versions that the scaler reports in a crash loop."""
        found = {version: self.control.scales.get((service, version)) for version in versions}
        return {
            version: f"{scale.deaths} workers died, the last one with {scale.last_exit or 'no word'}"
            for version, scale in found.items()
            if scale is not None and scale.health == "crash-loop"
        }


def _forward(record: RolloutRecord) -> bool:
    """Return whether a rollout goes forward, rather than back or being over."""
    return not record.over and record.phase not in {"back", "take-over"}
