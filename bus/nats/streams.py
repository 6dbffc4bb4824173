"""The streams and consumers Headway uses: declared here as data, made so on the server by `ensure`.

Workers make the stream of their own service; the shared ones are made by `provision()` with the control role.
Bounds are hard (`discard new`): a full stream refuses its publisher instead of dropping somebody's message.

How many copies a stream has is the operator's matter, said once, to `provision()`. A declaration leaves it open: a
stream that exists keeps its copies, a new one gets as many as `EVENTS` has. So workers, who know nothing of the
cluster, never lower them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
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

from headway.bus.errors import ConnectionFailed, DeclarationDrift, InvalidSubject, MissingStream, StoreError
from headway.bus.nats.refusals import TOO_FEW, JsCode, nobody_answers, translate
from headway.bus.wire import subjects

_T = TypeVar("_T")

JOBS: Final = "JOBS_"
"""What the names of job streams begin with; the service's follows."""
EVENTS: Final = "EVENTS"
OBJECTS: Final = "OBJECTS"
DEAD: Final = "DEAD"
ATTEMPTS: Final = "KV_ATTEMPTS"
CONTROL: Final = "KV_CONTROL"
BLOBS_BUCKET: Final = "BLOBS"
BLOBS: Final = f"OBJ_{BLOBS_BUCKET}"

DAY: Final = 86_400.0
TOMBSTONES: Final = 30 * DAY
"""Seconds that a deleted object's tombstone stays: a page that was away for longer gets everything anew."""
_GIB: Final = 1 << 30
_ELECTION = 20.0
"""Seconds for what passes; a cluster without a leader takes up to nine to elect one (nats-server's raft.go)."""
_SETUP_TIMEOUT = _ELECTION + 10.0
_ASK = 5.0
"""Seconds after which a consumer is asked for again: the question may be lost with the server that had it."""
_AGAIN = 0.1

SET_ASIDE: Final = 64 << 20
"""Bytes up to which the bound of a queue is set when the queue is made, and room for it set aside with that."""
BOUND: Final = "headway.max_bytes"
"""Metadata of a stream whose bound is set only when it comes near it: that bound, in bytes."""
MAX_ACK_PENDING: Final = 10_000
"""Messages of one lane that all its workers may have in hand together; beyond, the server stops delivering."""


def jobs_stream(service: str) -> str:
    """The name of a service's job stream."""
    return f"{JOBS}{subjects.token(service, 'service')}"


class EventConsumer(NamedTuple):
    """What the name of an event consumer says."""

    service: str
    type: str


def parse_event_consumer(name: str) -> EventConsumer | None:
    """Take the name of an event consumer apart; None if it is another consumer's."""
    service, _, type_ = name.partition("_")
    try:
        return EventConsumer(subjects.token(service, "service"), subjects.event_type(type_.replace("_", ".")))
    except InvalidSubject:
        return None


def lane_consumer(version: str, lane: int) -> str:
    """The name of the durable consumer of one version's lane."""
    return f"{subjects.token(version, 'version')}-{lane}"


class LaneConsumer(NamedTuple):
    """What the name of a lane's consumer says."""

    version: str
    lane: int


def parse_lane_consumer(name: str) -> LaneConsumer | None:
    """Take the name of a lane's consumer apart; None if it is another consumer's."""
    version, _, number = name.rpartition("-")
    lane = subjects.lane_number(number)
    if lane is None:
        return None
    try:
        return LaneConsumer(subjects.token(version, "version"), lane)
    except InvalidSubject:
        return None


def service_of_jobs(stream: str) -> str | None:
    """Return the service whose job stream has this name; None if it is another stream's."""
    return stream.removeprefix(JOBS) if stream.startswith(JOBS) else None


def event_consumer(service: str, event_type: str) -> str:
    """The name of the durable consumer of one service for one event type. '_' is in no token, so names are unique."""
    return f"{subjects.token(service, 'service')}_{subjects.event_type(event_type).replace('.', '_')}"


def jobs(service: str, queue_bytes: int, queue_per_subject: int) -> StreamConfig:
    """Return the job stream of a service: a work queue that takes mapped jobs only.

    A server sets the bound of a stream aside when the stream is made, used or not. So a large bound is only written
    into the metadata here; the deployer sets it once the queue comes near it (`headway.deployer.bounds`).

    Args:
        service: whose.
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


def shared(replicas: int | None = None) -> list[StreamConfig]:
    """The streams all services share, with so many copies each; None leaves that open."""
    return [
        _kept(EVENTS, ["event.>"], replicas, discard=DiscardPolicy.OLD, max_age=7 * DAY),
        _kept(
            OBJECTS,
            ["obj.*.*.*"],
            replicas,
            max_msgs_per_subject=1,
            allow_direct=True,
            allow_msg_ttl=True,
            # What is purged or deleted by the API is not republished, so browsers would keep it for ever.
            deny_purge=True,
            deny_delete=True,
            republish=RePublish(src="obj.>", dest="live.>"),
        ),
        _kept(DEAD, ["dead.*.*.*"], replicas, max_age=30 * DAY, allow_direct=True),
        _kept(
            ATTEMPTS,
            ["$KV.ATTEMPTS.>"],
            replicas,
            max_bytes=_GIB // 4,
            max_msgs_per_subject=1,
            max_age=DAY,
            allow_direct=True,
            allow_rollup_hdrs=True,
        ),
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


def _kept(name: str, subjects_: list[str], replicas: int | None, **different: Any) -> StreamConfig:
    """A stream whose messages stay until a bound is reached; then it refuses new ones, unless declared otherwise."""
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
    """The durable consumer of one version's lane. Attempts are counted by the worker, so deliveries are not limited."""
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
    """The durable consumer of one service for one event type, from its creation on.

    All versions of the service share it, so that during a release each event is handled once; one per type,
    so that a version without a handler for a type does not take its events.
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
    """Make the shared streams what they are declared to be.

    Args:
        js: the context.
        replicas: copies that they and all job streams have from now on; None leaves those there are as they are.

    Raises:
        StoreError, ConnectionFailed: as `ensure`.
    """
    if replicas is not None:
        await _replicate(js, replicas)  # first: in a cluster, streams whose copies are just being made are not listed
    async with asyncio.TaskGroup() as group:
        for config in shared(replicas):
            group.create_task(ensure(js, config))


async def ensure(js: JetStreamContext, config: StreamConfig) -> None:
    """Create a stream, or change it to its declaration where it differs.

    With `num_replicas` left open it keeps the copies it has; a new one gets as many as `EVENTS` has.

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
    """Create a durable consumer, or change it to its declaration. Its position stays.

    Raises:
        MissingStream: if the stream does not exist.
        DeclarationDrift: if the server refuses it.
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
        await js.add_stream(config if config.num_replicas else replace(config, num_replicas=await _copies(js)))
        return
    if _differs(config, found):
        await js.update_stream(replace(config, num_replicas=config.num_replicas or found.num_replicas))


async def _once_it_can(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask until the server can say; after `_ELECTION`, its last answer or silence stands.

    A cluster has a leader before that leader has heard from all servers, and none while it elects one: then it
    refuses, or is silent (nats-server's jetstream_cluster.go, `selectPeerGroup`). A server lets clients in before it
    has begun with JetStream, and enabled it for each account that it knows.
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
    """Give all job streams so many copies."""
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


async def _copies(js: JetStreamContext) -> int | None:
    """How many copies the operator wants of a stream; None where there are no shared streams yet."""
    try:
        return (await js.stream_info(EVENTS)).config.num_replicas
    except nats.js.errors.NotFoundError:
        return None


def _refusal(name: str, error: nats.js.errors.APIError) -> StoreError:
    if nobody_answers(error):
        return StoreError(f"stream {name}: no server with JetStream answers", remedy="start the servers with JetStream")
    if error.err_code in TOO_FEW:
        return StoreError(f"stream {name}: {error.description}", remedy="have no more replicas than servers that run")
    if error.err_code == JsCode.NO_STORAGE:
        remedy = "give the store a larger disk: a server promises three quarters of what is free when it starts"
        return StoreError(f"stream {name}: {error.description}", remedy=remedy)
    kind = DeclarationDrift if "change" in (error.description or "") else StoreError
    return kind(f"stream {name}: {error.description}")


def _differs(declared: StreamConfig, found: StreamConfig) -> bool:
    """Whether a declared setting is not what the server has. What is not declared is the server's business."""
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
        "max_age",
        "num_replicas",
        "allow_direct",
        "allow_msg_ttl",
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
