"""Finds what retired versions leave behind, and removes what `headway.deployer.garbage` allows."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError, MissingStream, StoreError
from headway.bus.nats import jsapi, streams
from headway.bus.nats.refusals import translating
from headway.bus.nats.streams import EVENTS, event_consumer, jobs_stream, lane_consumer, parse_event_consumer
from headway.bus.wire.subjects import LANES, parse_job, token
from headway.control.fleet import Fleet
from headway.control.records import ServiceRecord, VersionRecord
from headway.control.store import Control, Versioned, keys_of, scale_key, service_key, version_key
from headway.deployer import queues
from headway.deployer.garbage import KEEP, SPARE, Garbage, Remains, deployed, garbage
from headway.images import image, store

_LISTEN: Final = 0.5
"""Seconds in which all workers of a service must answer."""

_LISTED_FOR: Final = 1.0
"""Seconds for which a list of all event consumers is reused for further services."""

_log = logging.getLogger("headway.deployer")


class Cleaner:
    """Cleans up after versions that are retired.

    Args:
        bus: a connection in the control or operator role.
        broker: of the server, with the installation's keys.
        control: the records.
        fleet: the workers, by their heartbeats.
        leads: whether this deployer may act, checked right before each action.
        keep: retired versions of each service that can be rolled back to.
        spare: retired versions of each service that keep their consumers for a while.
    """

    def __init__(
        self,
        bus: Bus,
        broker: Broker,
        control: Control,
        fleet: Fleet,
        leads: Callable[[], bool],
        *,
        keep: int = KEEP,
        spare: int = SPARE,
    ) -> None:
        self._bus = bus
        self._broker = broker
        self._control = control
        self._fleet = fleet
        self._leads = leads
        self._keep, self._spare = keep, spare
        self._retired: dict[tuple[str, str], float] = {}
        self._orphaned: dict[tuple[str, str], float] = {}
        self._by_service: dict[str, dict[str, int]] | None = None
        self._listed = -math.inf
        self._routes_known: Mapping[str, Mapping[str, int]] = {}
        self._routes_read = -math.inf

    async def clean(self, service: str) -> Garbage:
        """Clean up after one service; return what was removed.

        Raises:
            HeadwayError: if something cannot be read or removed; the next cleanup does the rest.
        """
        remains = await self.look(service)
        found = garbage(remains, keep=self._keep, spare=self._spare)
        for version in found.consumers:
            await self._consumers(service, version)
        for version in found.records:
            await self._records(service, version, remains.versions[version])
        await self._tell(service, found.orphans, remains.events or {})
        for event, held in found.events.items():
            await self._event(service, event, held)
        return found

    async def look(self, service: str) -> Remains:
        """Collect the remains of a service. What does not answer is unknown.

        Raises:
            ConnectionFailed: if the consumers are not all known for certain.
        """
        control, now = self._control, time.monotonic()
        versions = {version: one for (of, version), one in control.versions.items() if of == service}
        known = self._fleet.settled and not keys_of(service, control.unreadable)
        rollout = control.rollouts.get(service)
        left, events, routes = await asyncio.gather(self._left(service), self._events(service), self._routes())
        wanted = deployed(Remains(versions, rollout))
        return Remains(
            versions=versions,
            rollout=rollout,
            alive=self._fleet.alive(service) if known else None,
            left=left,
            routed={name.partition("@")[0] for name in routes.get(service, {})},
            retired_for=_since(self._retired, service, {v for v, r in versions.items() if r.phase == "retired"}, now),
            handled=await self._handled(service, wanted) if events and known else None,
            events=events,
            orphaned_for=self._since_orphaned(service, now),
        )

    def _since_orphaned(self, service: str, now: float) -> dict[str, float]:
        record = self._control.services.get(service)
        return _since(self._orphaned, service, set(record.orphans) if record is not None else set(), now)

    async def _left(self, service: str) -> dict[str, int]:
        return queues.left(await queues.consumers(self._bus, service))

    async def _routes(self) -> Mapping[str, Mapping[str, int]]:
        """Return all routes, cached for further services."""
        if time.monotonic() - self._routes_read >= _LISTED_FOR:
            self._routes_known = await self._broker.routes()
            self._routes_read = time.monotonic()
        return self._routes_known

    async def _events(self, service: str) -> dict[str, int] | None:
        """Return the unfinished events by event type, for the types with a consumer of the service."""
        if time.monotonic() - self._listed >= _LISTED_FOR:
            self._by_service = await self._list_events()
            self._listed = time.monotonic()
        return None if self._by_service is None else self._by_service.get(service, {})

    async def _list_events(self) -> dict[str, dict[str, int]] | None:
        try:
            found, silent = await jsapi.listed(self._bus.nc, f"CONSUMER.LIST.{EVENTS}", "consumers")
        except StoreError as error:
            raise ConnectionFailed(str(error)) from error
        if silent:
            return None
        events: dict[str, dict[str, int]] = {}
        for one in found:
            name = parse_event_consumer(one["name"])
            if name is not None:
                held = int(one["num_pending"]) + int(one["num_ack_pending"])
                events.setdefault(name.service, {})[name.type] = held
        return events

    async def _handled(self, service: str, wanted: Collection[str]) -> set[str] | None:
        """Return the event types that deployed versions handle; None unless each of them has answered.

        A version without a running worker cannot be asked; then nothing is known.
        """
        answered: dict[str, set[str]] = {}
        inbox = self._bus.nc.new_inbox()
        answers = await self._bus.nc.subscribe(inbox)
        try:
            with translating(f"$SRV.SCHEMA.{service}"):
                await self._bus.nc.publish(f"$SRV.SCHEMA.{token(service, 'service')}", reply=inbox)
                async with asyncio.timeout(_LISTEN):
                    async for message in answers.messages:
                        version, events = _answer(message.data)
                        answered.setdefault(version, set()).update(events)
        except TimeoutError:
            pass
        finally:
            if not self._bus.nc.is_closed:
                await answers.unsubscribe()
        if not wanted or not set(wanted) <= answered.keys():
            return None
        return set().union(*answered.values())

    async def _consumers(self, service: str, version: str) -> None:
        """Delete the consumers of a version; recreate those whose lane got a message meanwhile."""
        stream = jobs_stream(service)
        for lane in range(LANES):
            if not self._leads() or await self._retired_record(service, version) is None:
                return
            await self._delete(stream, lane_consumer(version, lane))
        _log.info("%s: the consumers of %s are deleted: it is retired and has nothing queued", service, version)
        info = await jsapi.request(
            self._bus.nc, f"STREAM.INFO.{stream}", {"subjects_filter": f"job.{service}.{version}.>"}
        )
        for lane in {parse_job(subject).lane for subject in info["state"].get("subjects") or {}}:
            _log.warning("%s: a job for %s came late to lane %d: its consumer is created again", service, version, lane)
            await streams.ensure_consumer(self._bus.js, stream, streams.lane(service, version, lane, ack_wait=30.0))

    async def _records(self, service: str, version: str, record: VersionRecord) -> None:
        """Delete the records and the image of a version. The image goes last: a record without an image still names
        it.
        """
        known = await self._retired_record(service, version)
        if known is None or not self._leads():
            return
        await self._control.delete(version_key(service, version), expect=known.revision)
        await self._control.delete(scale_key(service, version))
        self._control.versions.pop((service, version), None)
        self._retired.pop((service, version), None)
        _log.info("%s: %s is removed: %d later versions can be rolled back to", service, version, self._keep)
        directory = self._broker.data_dir
        used = {one.image for one in self._control.versions.values()}
        if record.image is not None and record.image not in used and directory is not None:
            await asyncio.to_thread(_remove, directory, service, version, record.image)

    async def _retired_record(self, service: str, version: str) -> Versioned[VersionRecord] | None:
        """Read the record of a version again; None if it was released since."""
        found = await self._control.get(version_key(service, version), VersionRecord)
        return found if found is not None and found.value.phase == "retired" and not found.value.weight else None

    async def _tell(self, service: str, orphans: tuple[str, ...], events: Mapping[str, int]) -> None:
        """Record the unhandled events in the service's record, for doctor, console and scaler."""
        record = self._control.services.get(service)
        if record is None or record.orphans == orphans or not self._leads():
            return
        for event in set(orphans) - set(record.orphans):
            _log.warning("%s: no deployed version handles %s: %d events have no handler", service, event, events[event])
        await self._control.change(
            service_key(service), ServiceRecord, lambda known: known.model_copy(update={"orphans": orphans})
        )

    async def _event(self, service: str, event: str, held: int) -> None:
        if not self._leads():
            return
        await self._delete(EVENTS, event_consumer(service, event))
        _log.warning("%s: the consumer of %s is deleted; it held %d events that nobody handles", service, event, held)

    async def _delete(self, stream: str, consumer: str) -> None:
        try:
            await jsapi.request(self._bus.nc, f"CONSUMER.DELETE.{stream}.{consumer}")
        except MissingStream:
            return
        except StoreError as error:
            if "not found" not in error.message:
                raise


def _since(known: dict[tuple[str, str], float], service: str, now_so: set[str], now: float) -> dict[str, float]:
    """Remember since when each name is in this state, and return for how many seconds."""
    for key in [key for key in known if key[0] == service and key[1] not in now_so]:
        del known[key]
    return {name: now - known.setdefault((service, name), now) for name in now_so}


def _answer(data: bytes) -> tuple[str, set[str]]:
    """Parse a worker's answer: its version, and the event types that it handles."""
    try:
        answer: dict[str, Any] = orjson.loads(data or b"{}")
        version = str(answer["metadata"]["headway.version"])
        handlers = [name.partition(".") for name in answer["schemas"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "", set()
    return version, {name for kind, _, name in handlers if kind == "on"}


def _remove(directory: Path, service: str, version: str, digest: str) -> None:
    """Remove an image, unless its label names another one by now or another label needs it."""
    labels = [key for key, known in image.labels(directory).items() if known == digest]
    if labels == [(service, version)]:
        try:
            store.remove(directory, digest)
        except HeadwayError as error:
            _log.warning("%s: the image of %s stays: %s", service, version, error.message)
