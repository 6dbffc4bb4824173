"""The deployer's effects on the installation; each can safely be repeated."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from headway.broker import routes
from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.control.records import RolloutRecord, VersionRecord
from headway.control.store import Control, version_key
from headway.deployer import queues
from headway.deployer.errors import CheckFailed, NotLeading, NotProven, UnknownVersion
from headway.deployer.rollout import proof, samples
from headway.deployer.rollout.comparison import run_checks
from headway.deployer.rollout.plan import DesiredVersion, Effect, Route, Smoke, TakeOver, Verify
from headway.deployer.rollout.takeover import Takeover
from headway.deployer.rollout.waiting import move_waiting

TAKE_OVER_FOR: Final = 2.0
"""Seconds for which jobs are moved before the deployer plans again."""
WAITING_EVERY: Final = 1.0
"""Seconds between two searches for jobs that wait for a retry."""
_REST: Final = 10
"""The same as a multiple of the time that a search takes: it reads all that is in hand."""

Prove = Callable[[RolloutRecord, VersionRecord, VersionRecord | None], Awaitable[None]]
"""Proves that a version can replace the one before it; raises a `HeadwayError` with the reason if not."""

_log = logging.getLogger("headway.deployer")


class Effects:
    """Carries out effects.

    Args:
        bus: a connection in the control or operator role.
        broker: of the server, with the installation's keys.
        control: the records.
        prove: checks images and contracts.
        leads: whether this deployer may act. Checked right before each action: the process may have been suspended.
    """

    def __init__(self, bus: Bus, broker: Broker, control: Control, prove: Prove, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._bus = bus
        self._broker = broker
        self._control = control
        self._prove = prove
        self._waiting_again: dict[tuple[str, str], float] = {}

    async def have(self, record: RolloutRecord, effect: Effect) -> int:
        """Carry out an effect; return how many jobs it moved.

        Raises:
            NotLeading: if another deployer acts.
            HeadwayError: one of its other subclasses, if the effect failed.
        """
        match effect:
            case Verify():
                await self.verify(record)
            case Smoke():
                await self.smoke(record)
            case Route():
                await self.route(record, effect)
            case TakeOver():
                return await self.take_over(record.service, effect)
        return 0

    async def fleet(self, service: str, desired: Mapping[str, DesiredVersion]) -> None:
        """Bring versions to their desired phase and minimum. Raises `UnknownVersion` and as `Control.change`."""
        self._fenced()
        for version, one in desired.items():
            wanted = {"phase": one.phase, "minimum": one.minimum}
            known = self._control.versions.get((service, version))
            if known is None and one.phase == "retired":
                continue
            if known is None:
                raise UnknownVersion(f"there is no record of {service} {version}", remedy="deploy it again")
            if known.model_copy(update=wanted) != known:
                await self._change(service, version, wanted)

    async def verify(self, record: RolloutRecord) -> None:
        """Prove that the version can be run. Raises what `prove` does, and `UnknownVersion`."""
        new = await self._control.get(version_key(record.service, record.version), VersionRecord)
        if new is None:
            raise UnknownVersion(f"there is no record of {record.service} {record.version}", remedy="deploy it again")
        old = None
        if record.before is not None:
            old = await self._control.get(version_key(record.service, record.before), VersionRecord)
        await self._prove(record, new.value, None if old is None else old.value)

    async def smoke(self, record: RolloutRecord) -> None:
        """Prove that the version's workers can be reached, answer, and can read what is queued.

        Raises `NotProven`, `ContractBroken` and `CheckFailed`.

        A check with an unknown result is left to the steps: there may be no value before there is traffic.
        """
        alone = {record.version: 100}
        await proof.interest(
            self._bus, self._broker, record.service, alone, record.before, breaking=record.breaking or record.urgent
        )
        if record.before is not None and not (record.breaking or record.urgent):
            await samples.check(self._bus, record.service, record.version, record.before)
        for checked in await run_checks(self._bus, record):
            if checked.ok is False:
                raise CheckFailed(f"check {checked.name}: {checked.said}")

    async def route(self, record: RolloutRecord, wanted: Route) -> None:
        """Set weights. Raises `NotProven`, and as `Broker.change_route`."""
        service, weights = record.service, wanted.weights
        before = None
        if wanted.proven and weights is not None:
            breaking = record.breaking or record.urgent
            await proof.interest(self._bus, self._broker, service, weights, record.before, breaking=breaking)
            before = (await self._broker.routes()).get(service)
        self._fenced()
        servers = await self._broker.change_route(service, weights)
        _log.info("%s: %s, confirmed by %s", service, weights, ", ".join(servers) or "no server: nothing had to change")
        if wanted.proven and weights is not None:
            try:
                await proof.split(self._bus, service, weights)
            except NotProven:
                self._fenced()
                await self._broker.change_route(service, before)
                raise
        await self.mirror(service, weights or {})

    async def mirror(self, service: str, weights: Mapping[str, int]) -> None:
        """Write the weights without a named cluster into the versions' records."""
        shares = routes.here(weights, None)
        for (name, version), known in list(self._control.versions.items()):
            if name == service and known.weight != shares.get(version, 0):
                await self._change(service, version, {"weight": shares.get(version, 0)})

    async def take_over(self, service: str, wanted: TakeOver) -> int:
        """Move jobs for a moment. Raises as `Takeover.run` and `move_waiting`."""
        self._fenced()
        source, target = wanted.source, wanted.target
        lanes = (await queues.consumers(self._bus, service)).get(source, {})
        moved = 0
        async with asyncio.timeout(TAKE_OVER_FOR * 5):
            if time.monotonic() >= self._waiting_again.get((service, source), 0.0):
                began = time.monotonic()
                moved += await move_waiting(
                    self._bus, service, self._broker.identities.seal(service), source, target, lanes, TAKE_OVER_FOR
                )
                took = time.monotonic() - began
                self._waiting_again[service, source] = time.monotonic() + max(WAITING_EVERY, _REST * took)
            if not wanted.waiting:
                moved += await Takeover(self._bus, service, source, target).run(lanes, TAKE_OVER_FOR)
        if moved:
            _log.info("%s: %d jobs of %s are now %s's", service, moved, wanted.source, wanted.target)
        return moved

    def _fenced(self) -> None:
        if not self._leads():
            raise NotLeading("the lease of this deployer is over")

    async def _change(self, service: str, version: str, wanted: Mapping[str, object]) -> None:
        key = version_key(service, version)
        changed = await self._control.change(key, VersionRecord, lambda v: v.model_copy(update=dict(wanted)))
        self._control.versions[service, version] = changed
