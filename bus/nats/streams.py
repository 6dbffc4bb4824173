"""The streams and consumers Headway uses, declared as data; `ensure` creates or updates them on the server.

Only control and operators create them: `provision()` the shared ones, and `headway.broker.queues` those that a worker
asks for.
Bounds are hard (`discard new`): a full stream refuses new messages instead of dropping old ones, except events and dead
letters.

The operator sets the number of replicas once, through `provision()`. Declarations leave it open: an existing stream
keeps its replicas, a new one gets as many as `EVENTS` has. So a process that does not know the cluster never lowers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
import orjson
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from headway.bus import tasks
from headway.bus.errors import ConnectionFailed, DeclarationDrift, InvalidSubject, MissingStream, StoreError
from headway.bus.nats.refusals import TOO_FEW, JsCode, nobody_answers, translate
from headway.bus.wire import subjects

_T = TypeVar("_T")

JOBS: Final = "JOBS_"
"""Prefix of the names of job streams, followed by the service's name."""
EVENTS: Final = "EVENTS"
OBJECTS: Final = "OBJECTS"
DEAD: Final = "DEAD"
ATTEMPTS: Final = "KV_ATTEMPTS"
CONTROL: Final = "KV_CONTROL"
AUDIT: Final = "AUDIT"
LATER: Final = "LATER"
BLOBS_BUCKET: Final = "BLOBS"
BLOBS: Final = f"OBJ_{BLOBS_BUCKET}"

LETTERS: Final = 4000
"""Most dead letters of one service, tenant and operation; a new one replaces the oldest."""

BACKLOG: Final = 32_768
"""Most events of one tenant and type that a subscriber may be behind; a new one replaces the oldest."""
MAX_EVENT: Final = 32 * 1024
"""Largest event in bytes, with its headers."""
DAY: Final = 86_400.0
TOMBSTONES: Final = 30 * DAY
"""Seconds that a deleted object's tombstone stays. A page that was offline for longer reloads everything."""
AUDIT_KEPT: Final = 400 * DAY
"""Seconds that entries of the audit log stay: a year, and time to export it."""
_GIB: Final = 1 << 30
_ELECTION = 20.0
"""Seconds to retry temporary refusals; a cluster needs up to nine to elect a leader (nats-server, raft.go)."""
_SETUP_TIMEOUT = _ELECTION + 10.0
_ASK = 5.0
"""Seconds after which a consumer is requested again: the request may be lost together with the server that had it."""
_AGAIN = 0.1

SET_ASIDE: Final = 64 << 20
"""Bounds up to this many bytes are set, and their storage reserved, when the queue is created."""
BOUND: Final = "headway.max_bytes"
"""Metadata key of a stream whose bound is set only when the stream comes near it: the bound in bytes."""
WEIGHTS: Final = "headway.weights"
"""Metadata key of a job stream: the weights of tenants that have another one than 1, as JSON."""
LATER_PER_SUBJECT: Final = 250_000
"""Maximum jobs for later of one service, tenant and operation, so that no tenant can fill the stream."""
MAX_ACK_PENDING: Final = 50_000
"""Maximum unacknowledged messages of one lane, over all workers; at this number the server stops delivering."""


def jobs_stream(service: str) -> str:
    """Return the name of a service's job stream."""
    return f"{JOBS}{subjects.token(service, 'service')}"


class EventConsumer(NamedTuple):
    """The parts of an event consumer's name."""

    service: str
    type: str


def parse_event_consumer(name: str) -> EventConsumer | None:
    """Parse the name of an event consumer; None if it is another consumer's."""
    service, _, type_ = name.partition("_")
    try:
        return EventConsumer(subjects.token(service, "service"), subjects.event_type(type_.replace("_", ".")))
    except InvalidSubject:
        return None


def lane_consumer(version: str, lane: int) -> str:
    """Return the name of the durable consumer of one version's lane."""
    return f"{subjects.token(version, 'version')}-{lane}"


class LaneConsumer(NamedTuple):
    """The parts of a lane consumer's name."""

    version: str
    lane: int


def parse_lane_consumer(name: str) -> LaneConsumer | None:
    """Parse the name of a lane's consumer; None if it is another consumer's."""
    version, _, number = name.rpartition("-")
    lane = subjects.lane_number(number)
    if lane is None:
        return None
    try:
        return LaneConsumer(subjects.token(version, "version"), lane)
    except InvalidSubject:
        return None


def service_of_jobs(stream: str) -> str | None:
    """Return the service whose job stream has this name; None for other streams."""
    return stream.removeprefix(JOBS) if stream.startswith(JOBS) else None


def event_consumer(service: str, event_type: str) -> str:
    """Return the name of a service's durable consumer for an event type.

    No token contains '_', so names are unique.
    """
    return f"{subjects.token(service, 'service')}_{subjects.event_type(event_type).replace('.', '_')}"


def jobs(service: str, queue_bytes: int, queue_per_subject: int) -> StreamConfig:
    """Return the job stream of a service: a work queue that takes mapped jobs only.

    A server reserves the bound of a stream when the stream is created, whether it is used or not. So a large bound is
    only written into the metadata; the deployer sets it once the queue comes near it (`headway.deployer.bounds`).

    Args:
        service: the service's name.
        queue_bytes: bound in bytes.
        queue_per_subject: bound of messages per version, lane, tenant and operation.
    """
    return StreamConfig(
        name=jobs_stream(service),
        subjects=[subjects.job_stream_subject(service)],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
        max_bytes=queue_bytes if queue_bytes <= SET_ASIDE else None,
        metadata={BOUND: str(queue_bytes)} if queue_bytes > SET_ASIDE else None,
        max_msgs_per_subject=queue_per_subject,
        duplicate_window=120,
    )


def weights(metadata: Mapping[str, str] | None) -> dict[str, float]:
    """Return the weights of tenants from a job stream's metadata; those that cannot be read are left out."""
    try:
        found = orjson.loads((metadata or {}).get(WEIGHTS, "{}"))
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {tenant: float(one) for tenant, one in found.items() if isinstance(one, int | float) and one > 0}


def shared(replicas: int | None = None) -> list[StreamConfig]:
    """Return the streams that all services share, with the given number of replicas; None leaves it open."""
    return [
        _events(replicas),
        _objects(replicas),
        _kept(
            DEAD,
            ["dead.*.*.*"],
            replicas,
            # Old letters make room, those of the same service, tenant and operation first: a message that cannot be
            # buried would be delivered again for ever.
            discard=DiscardPolicy.OLD,
            max_msgs_per_subject=LETTERS,
            max_age=30 * DAY,
            allow_direct=True,
        ),
        _kept(
            LATER,
            ["later.*.*.*"],
            replicas,
            max_bytes=None,
            metadata={BOUND: str(_GIB)},
            max_msgs_per_subject=LATER_PER_SUBJECT,
            discard_new_per_subject=True,
            allow_direct=True,
        ),
        _kept(
            ATTEMPTS,
            ["$KV.ATTEMPTS.>"],
            replicas,
            max_bytes=_GIB // 4,
            max_msgs_per_subject=1,
            max_age=DAY,
            allow_direct=True,
            allow_rollup_hdrs=False,  # with it, a worker of one service could delete all records
        ),
        _kept(
            BLOBS,
            [f"$O.{BLOBS_BUCKET}.C.>", f"$O.{BLOBS_BUCKET}.M.>"],
            replicas,
            max_bytes=None,
            metadata={BOUND: str(8 * _GIB)},
            allow_direct=True,
            allow_rollup_hdrs=True,
        ),
    ]


def of_control(replicas: int | None = None) -> list[StreamConfig]:
    """Return the streams of control's account: the control records, the objects of the console, the audit log."""
    return [
        _kept(
            CONTROL,
            ["$KV.CONTROL.>"],
            replicas,
            max_bytes=_GIB // 16,
            max_msgs_per_subject=1,
            allow_direct=True,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
        ),
        replace(_objects(replicas), max_bytes=_GIB // 16),
        _kept(
            AUDIT,
            [subjects.AUDIT_ALL],
            replicas,
            max_bytes=_GIB // 16,
            max_age=AUDIT_KEPT,
            discard=DiscardPolicy.OLD,
            allow_direct=True,
            deny_purge=True,
            deny_delete=True,
        ),
    ]


def _objects(replicas: int | None) -> StreamConfig:
    return _kept(
        OBJECTS,
        ["obj.*.*.*"],
        replicas,
        max_msgs_per_subject=1,
        allow_direct=True,
        allow_msg_ttl=True,
        # The server does not republish purges and deletes made through the API: browsers would never see them.
        deny_purge=True,
        deny_delete=True,
        republish=RePublish(src="obj.>", dest="live.>"),
    )


def _events(replicas: int | None) -> StreamConfig:
    """Return the stream of events, each kept until all services that subscribe to its type have handled it.

    Types that nobody subscribes to take no room, so a tenant cannot evict the events of others with types it makes up.
    Of one tenant and type, new events replace the oldest ones when a subscriber is far behind.
    """
    return replace(
        _kept(
            EVENTS,
            ["event.>"],
            replicas,
            discard=DiscardPolicy.OLD,
            max_bytes=None,
            metadata={BOUND: str(8 * _GIB)},
            max_msgs_per_subject=BACKLOG,
            max_msg_size=MAX_EVENT,
            max_age=7 * DAY,
        ),
        retention=RetentionPolicy.INTEREST,
    )


def _kept(name: str, subjects_: list[str], replicas: int | None, **different: Any) -> StreamConfig:
    """Return a stream that keeps its messages and, unless declared otherwise, refuses new ones when full."""
    usual = {"discard": DiscardPolicy.NEW, "max_bytes": _GIB}
    return StreamConfig(
        name=name,
        subjects=subjects_,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        duplicate_window=120,
        num_replicas=replicas,
        **{**usual, **different},
    )


def lane(service: str, version: str, number: int, ack_wait: float) -> ConsumerConfig:
    """Return the durable consumer of one version's lane.

    Deliveries are not limited, because the worker counts attempts.
    """
    name = lane_consumer(version, number)
    return ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subject=subjects.job_lane(service, version, number),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )


def event(service: str, event_type: str, ack_wait: float) -> ConsumerConfig:
    """Return a service's durable consumer for one event type; it starts with events after its creation.

    All versions of the service share it, so that each event is handled once during a release. There is one per type,
    so that a version without a handler for a type does not receive its events.
    """
    name = event_consumer(service, event_type)
    return ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subject=subjects.event_filter(event_type),
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )


async def provision(js: JetStreamContext, replicas: int | None = None) -> None:
    """Create the shared streams, or change them to their declarations.

    Args:
        js: the context.
        replicas: number of replicas of these and all job streams from now on; None keeps those of existing streams.

    Raises:
        StoreError, ConnectionFailed: as `ensure`.
    """
    if replicas is not None:
        await _replicate(js, replicas)  # first: a cluster does not list streams whose replicas are being created
    async with tasks.group() as group:
        for config in shared(replicas):
            group.create_task(ensure(js, config))


async def provision_control(js: JetStreamContext, replicas: int | None = None) -> None:
    """Create the streams of control's account, or change them to their declarations. Arguments as for `provision`."""
    async with tasks.group() as group:
        for config in of_control(replicas):
            group.create_task(ensure(js, config))


async def ensure(js: JetStreamContext, config: StreamConfig) -> None:
    """Create a stream, or change it to its declaration where it differs.

    If `num_replicas` is open, an existing stream keeps its replicas and a new one gets as many as `EVENTS` has.

    Raises:
        DeclarationDrift: if it exists and the server refuses the change.
        StoreError: if the server refuses to create it.
        ConnectionFailed: without an answer in time.
    """
    assert config.name is not None
    try:
        async with asyncio.timeout(_SETUP_TIMEOUT):
            await _once_it_can(lambda: _create_or_change(js, config))
    except nats.js.errors.APIError as error:
        raise _refusal(config.name, error) from error
    except (TimeoutError, nats.errors.Error) as error:
        raise translate(error, f"stream {config.name}") from error


async def ensure_consumer(js: JetStreamContext, stream: str, config: ConsumerConfig) -> None:
    """Create a durable consumer, or change it to its declaration. It keeps its position.

    Raises:
        MissingStream: if the stream does not exist.
        DeclarationDrift: if the server refuses the declaration.
        ConnectionFailed: without an answer in time.
    """
    try:
        async with asyncio.timeout(_SETUP_TIMEOUT):
            await _once_it_can(lambda: js.add_consumer(stream, config, timeout=_ASK))
    except nats.js.errors.APIError as error:
        if error.err_code == JsCode.STREAM_NOT_FOUND:
            raise MissingStream(f"stream {stream} does not exist") from error
        if nobody_answers(error):
            raise ConnectionFailed(f"consumer {config.name} of {stream}: no server with JetStream answers") from error
        raise DeclarationDrift(f"consumer {config.name} of {stream}: {error.description}") from error
    except (TimeoutError, nats.errors.Error) as error:
        raise translate(error, f"consumer {config.name} of {stream}") from error


async def _create_or_change(js: JetStreamContext, config: StreamConfig) -> None:
    assert config.name is not None
    try:
        found = (await js.stream_info(config.name)).config
    except nats.js.errors.NotFoundError:
        await js.add_stream(config if config.num_replicas else replace(config, num_replicas=await copies(js)))
        return
    if _differs(config, found):
        kept = {**(found.metadata or {}), **(config.metadata or {})}  # others write there, too: weights of tenants
        replicas = config.num_replicas or found.num_replicas
        await js.update_stream(replace(config, num_replicas=replicas, metadata=kept or None))


async def _once_it_can(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat a request until the server can answer it; after `_ELECTION` seconds raise the last error.

    A cluster refuses, or does not answer, while it elects a leader and until that leader has heard from all servers
    (nats-server, jetstream_cluster.go, `selectPeerGroup`). A server also accepts clients before it has started
    JetStream and enabled it for every account.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + _ELECTION
    while True:
        try:
            return await ask()
        except nats.js.errors.APIError as error:
            if clock() > until or not _passes(error):
                raise
        except nats.errors.TimeoutError:
            if clock() > until:
                raise
        await asyncio.sleep(_AGAIN)


def _passes(refusal: nats.js.errors.APIError) -> bool:
    if refusal.err_code == JsCode.NO_PEERS:
        return "storage" not in (refusal.description or "")
    return refusal.err_code in {JsCode.NO_LEADER, JsCode.NOT_ENABLED} or nobody_answers(refusal)


async def _replicate(js: JetStreamContext, replicas: int) -> None:
    """Set the number of replicas of all job streams."""
    name, seen = "of jobs", 0
    try:
        while page := await _once_it_can(partial(js.streams_info, seen)):
            seen += len(page)
            for config in (info.config for info in page):
                name = str(config.name)
                if name.startswith(JOBS) and config.num_replicas != replicas:
                    await _once_it_can(partial(js.update_stream, replace(config, num_replicas=replicas)))
    except nats.js.errors.APIError as error:
        raise _refusal(name, error) from error
    except (TimeoutError, nats.errors.Error) as error:
        raise translate(error, f"stream {name}") from error


async def copies(js: JetStreamContext) -> int | None:
    """Return the number of replicas that the operator has set; None if there are no shared streams yet."""
    try:
        return (await js.stream_info(EVENTS)).config.num_replicas
    except nats.js.errors.NotFoundError:
        return None


def _refusal(name: str, error: nats.js.errors.APIError) -> StoreError:
    if nobody_answers(error):
        return StoreError(f"stream {name}: no server with JetStream answers", remedy="start the servers with JetStream")
    if error.err_code in TOO_FEW:
        return StoreError(f"stream {name}: {error.description}", remedy="use at most one replica per running server")
    if error.err_code == JsCode.NO_STORAGE:
        remedy = "use a larger disk: a server offers JetStream three quarters of what is free when it starts"
        return StoreError(f"stream {name}: {error.description}", remedy=remedy)
    kind = DeclarationDrift if "change" in (error.description or "") else StoreError
    return kind(f"stream {name}: {error.description}")


def _differs(declared: StreamConfig, found: StreamConfig) -> bool:
    """Return whether a declared setting differs from the server's. Settings that are not declared are ignored."""
    return any(
        value is not None and value != _plain(getattr(found, field.name))
        for field in fields(declared)
        for value in [_plain(getattr(declared, field.name))]
        if field.name in _DECLARED
    ) or bool((declared.metadata or {}).items() - (found.metadata or {}).items())


_DECLARED = frozenset(
    {
        "subjects",
        "retention",
        "discard",
        "discard_new_per_subject",
        "max_bytes",
        "max_msgs_per_subject",
        "max_msg_size",
        "max_age",
        "num_replicas",
        "allow_direct",
        "allow_msg_ttl",
        "allow_rollup_hdrs",
        "deny_purge",
        "deny_delete",
        "duplicate_window",
        "republish",
    }
)


def _plain(value: Any) -> Any:
    if isinstance(value, RePublish):
        return (value.src, value.dest)
    return value
