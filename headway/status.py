"""The state of an installation: collected from heartbeats, streams and routes, combined into one row per version."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pydantic import BaseModel, ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import InvalidSubject, MissingStream
from headway.bus.nats import jsapi, values
from headway.bus.nats.refusals import asking
from headway.bus.nats.streams import CONTROL, DEAD, JOBS, LATER, parse_lane_consumer
from headway.bus.telemetry.histogram import quantile
from headway.bus.wire.beat import Beat
from headway.bus.wire.subjects import parse_dead, parse_later
from headway.control.heartbeats import heard
from headway.control.records import LeaseRecord, ScaleRecord, VersionRecord
from headway.control.store import LEASES, Control, parse_subject

LISTEN: Final = 1.2
"""Seconds in which every live worker has sent a heartbeat."""
_TIMEOUT: Final = 5.0
_log = logging.getLogger("headway.status")


class JobQueue(BaseModel):
    """A version's jobs: `waiting` on the server, `in_hand` of its workers (by the server's count)."""

    waiting: int = 0
    in_hand: int = 0


class Trouble(BaseModel):
    """Workers that die.

    Attributes:
        health: "restarting" or "crash-loop".
        deaths: within the last minute.
        last_exit: how the last one died.
        stderr: the last lines that it wrote.
        retry_at: unix seconds at which the next one is started; None if that is now.
    """

    health: str
    deaths: int
    last_exit: str
    stderr: tuple[str, ...]
    retry_at: float | None


class StatusRow(BaseModel):
    """One version of a service.

    Attributes:
        weight: its share of the traffic in percent; None if the routes cannot be read from here.
        workers: live workers, of which `unhealthy` are unhealthy.
        desired: workers that the scaler wants; None without a scaler.
        trouble: why workers die; None if they do not.
        waiting: jobs on the server; None for a service without jobs.
        in_hand: calls, jobs and events being worked on.
        oldest_s: seconds that the oldest of them has taken so far.
        processed, failed, retried: since the workers' start.
        p50_ms, p95_ms: latency of all kinds since the workers' start.
        rss_mb: memory of all workers.
        tree: whether it runs a working tree as it is now, and not an image.
    """

    service: str
    version: str
    weight: int | None
    workers: int
    unhealthy: int
    desired: int | None
    trouble: Trouble | None
    waiting: int | None
    in_hand: int
    oldest_s: float
    processed: int
    failed: int
    retried: int
    p50_ms: float | None
    p95_ms: float | None
    rss_mb: float
    tree: bool = False


class Status(BaseModel):
    """The state of the whole installation.

    Attributes:
        url: of the server.
        rows: one per version, in the order of their names.
        dead: dead letters by service.
        later: jobs for later by service; they are no lag, since they are not due yet.
        unreadable: by key, why a control record cannot be read; whatever it describes stays as it was.
    """

    url: str
    rows: list[StatusRow]
    dead: dict[str, int]
    later: dict[str, int] = {}
    unreadable: dict[str, str] = {}


def summarise(
    url: str,
    beats: Iterable[Beat],
    queues: Mapping[tuple[str, str], JobQueue],
    routes: Mapping[str, Mapping[str, int]] | None,
    dead: Mapping[str, int],
    scales: Mapping[tuple[str, str], ScaleRecord] | None = None,
    unreadable: Mapping[str, str] | None = None,
    versions: Mapping[tuple[str, str], VersionRecord] | None = None,
    later: Mapping[str, int] | None = None,
) -> Status:
    """Combine the collected data.

    Args:
        url: of the server.
        beats: the last beat of each worker.
        queues: by service and version.
        routes: weight by service and version; None if they are unknown.
        dead: dead letters by service.
        scales: the scaler's records, by service and version.
        unreadable: by key, why a control record cannot be read.
        versions: the version records, by service and version.
        later: jobs for later by service.
    """
    scales = scales or {}
    by_version: dict[tuple[str, str], list[Beat]] = defaultdict(list)
    for beat in beats:
        if beat.state != "stopped":
            by_version[beat.service, beat.version].append(beat)
    routed = {(s, v) for s, versions in (routes or {}).items() for v, weight in versions.items() if weight}
    used = {key for key, queue in queues.items() if queue.waiting or queue.in_hand}
    kept = {key for key, scale in scales.items() if scale.desired or scale.health != "ok"}
    keys = sorted(by_version.keys() | routed | used | kept)
    trees = {key for key, one in (versions or {}).items() if one.image is None}
    rows = [
        _row(key, by_version[key], queues.get(key), routes, scales.get(key)).model_copy(update={"tree": key in trees})
        for key in keys
    ]
    return Status(
        url=url,
        rows=rows,
        dead=dict(sorted(dead.items())),
        later=dict(sorted((later or {}).items())),
        unreadable=dict(unreadable or {}),
    )


def _row(
    key: tuple[str, str],
    beats: list[Beat],
    queue: JobQueue | None,
    routes: Mapping[str, Mapping[str, int]] | None,
    scale: ScaleRecord | None,
) -> StatusRow:
    service, version = key
    histograms = [counts for beat in beats for counts in beat.latency.values()]
    total = [sum(column) for column in zip(*histograms, strict=False)]
    p50, p95 = quantile(total, 0.5), quantile(total, 0.95)
    return StatusRow(
        service=service,
        version=version,
        weight=None if routes is None else routes.get(service, {}).get(version, 0),
        workers=len(beats),
        unhealthy=sum(not beat.healthy for beat in beats),
        desired=None if scale is None else scale.desired,
        trouble=None
        if scale is None or scale.health == "ok"
        else Trouble(
            health=scale.health,
            deaths=scale.deaths,
            last_exit=scale.last_exit,
            stderr=scale.stderr,
            retry_at=scale.retry_at,
        ),
        waiting=None if queue is None else queue.waiting,
        in_hand=sum(beat.in_hand + beat.rpc_inflight for beat in beats),
        oldest_s=max((beat.oldest_s for beat in beats), default=0.0),
        processed=sum(beat.processed for beat in beats),
        failed=sum(beat.failed for beat in beats),
        retried=sum(beat.retried for beat in beats),
        p50_ms=None if p50 is None else round(p50 * 1000, 1),
        p95_ms=None if p95 is None else round(p95 * 1000, 1),
        rss_mb=round(sum(beat.rss_bytes for beat in beats) / 1e6, 1),
    )


async def listen(bus: Bus, seconds: float = LISTEN, *, refused: Counter[str] | None = None) -> list[Beat]:
    """Listen for some seconds; return the last beat of each worker.

    Args:
        bus: a connection in the control or operator role.
        seconds: how long.
        refused: receives how many heartbeats were not believed, by service.
    """
    beats: dict[str, Beat] = {}

    def hear(beat: Beat) -> None:
        beats[beat.worker] = beat

    async with heard(bus, hear) as doubted:
        await asyncio.sleep(seconds)
    if refused is not None:
        refused.update(doubted)
    return list(beats.values())


async def records(bus: Bus) -> Control:
    """Read the control records; there are none before the first declaration.

    Raises:
        ConnectionFailed: without an answer in time.
    """
    control = Control(bus)
    with contextlib.suppress(MissingStream):
        await control.refresh()
    return control


async def leases(bus: Bus) -> dict[str, LeaseRecord]:
    """Return the leader of each controller.

    Raises:
        ConnectionFailed: without an answer in time.
    """
    found: dict[str, LeaseRecord] = {}
    with contextlib.suppress(MissingStream):
        async for message in values.since(bus.records.js, CONTROL, LEASES, 1):
            key = parse_subject((message.headers or {})[values.SUBJECT])
            if key is None:  # Headway writes no such key
                continue
            found.pop(key.owner, None)  # released, unless there is a value
            if message.data:
                try:
                    found[key.owner] = LeaseRecord.model_validate_json(message.data)
                except ValidationError:
                    _log.warning("the lease record of %s cannot be read; it is skipped", key.owner)
    return found


async def queues(bus: Bus) -> dict[tuple[str, str], JobQueue]:
    """Return the job queues of all services and versions, from their lane consumers.

    While a consumer has no leader, its version is left out.

    Raises:
        StoreError, ConnectionFailed: as `headway.bus.nats.jsapi.listed`.
    """
    streams, _ = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    names = [name for one in streams if (name := one["config"]["name"]).startswith(JOBS)]
    answers = await asyncio.gather(*(jsapi.listed(bus.nc, f"CONSUMER.LIST.{name}", "consumers") for name in names))
    found: dict[tuple[str, str], JobQueue] = {}
    for name, (consumers, silent) in zip(names, answers, strict=True):
        service = name.removeprefix(JOBS)
        for consumer in consumers:
            if (lane := parse_lane_consumer(consumer["name"])) is None:
                continue
            queue = found.setdefault((service, lane.version), JobQueue())
            queue.waiting += consumer["num_pending"]
            queue.in_hand += consumer["num_ack_pending"]
        for consumer_name in silent:
            if (lane := parse_lane_consumer(consumer_name)) is not None:
                found.pop((service, lane.version), None)
    return found


async def dead_letters(bus: Bus) -> dict[str, int]:
    """Return the number of dead letters of each service.

    Raises:
        StoreError: if JetStream refuses.
        ConnectionFailed: without an answer in time.
    """
    return await _by_service(bus, DEAD, lambda subject: parse_dead(subject).service)


async def later(bus: Bus) -> dict[str, int]:
    """Return the number of jobs for later of each service. Raises as `dead_letters`."""
    return await _by_service(bus, LATER, lambda subject: parse_later(subject).service)


async def _by_service(bus: Bus, stream: str, service: Callable[[str], str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    try:
        async with asking(f"stream {stream}", _TIMEOUT):
            info = await bus.js.stream_info(stream, subjects_filter=">")
    except MissingStream:
        return {}
    for subject, count in (info.state.subjects or {}).items():
        with contextlib.suppress(InvalidSubject):
            counts[service(subject)] += count
    return counts
