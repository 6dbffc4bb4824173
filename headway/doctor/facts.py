"""The facts that the doctor collects: plain data, so that findings can be tested without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway.bus.wire.beat import Beat
from headway.control.records import RolloutRecord, ScaleRecord, ServiceRecord, VersionRecord


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server, as a leader sees it.

    Attributes:
        current: whether it is up to date with the leader.
        offline: whether it is gone.
        lag: operations it is behind.
    """

    name: str
    current: bool
    offline: bool = False
    lag: int = 0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server that answered.

    Attributes:
        version: such as (2, 15, 1).
        skew: seconds that its clock is ahead of this machine's; 0 within the uncertainty of the request's duration.
        jetstream: whether it has JetStream.
        strict: whether it forces messages to disk before it acknowledges them.
        stored, room: bytes of JetStream, and how many it may have.
        cluster_size: servers that its JetStream cluster has; 0 alone.
        leader: of the JetStream cluster; "" if there is none.
        peers: the others, as it sees them; only the leader knows whether they are there.
    """

    name: str
    version: tuple[int, ...]
    skew: float = 0.0
    jetstream: bool = True
    strict: bool = False
    stored: int = 0
    room: int = 0
    cluster_size: int = 0
    leader: str = ""
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable consumer.

    Attributes:
        pending: not delivered.
        ack_pending: delivered and not acknowledged.
        ack_wait: seconds after which such a message is delivered again, if a worker pulls.
        idle: seconds since its last delivery or acknowledgement; None without one.
        pulls: requests of workers that wait for messages.
        limit: most unacknowledged messages, at which it stops delivering.
        paused: whether it delivers nothing for now.
        led: whether it has a leader.
    """

    name: str
    pending: int = 0
    ack_pending: int = 0
    ack_wait: float = 30.0
    idle: float | None = None
    pulls: int = 0
    limit: int = 0
    paused: bool = False
    led: bool = True

    @property
    def left(self) -> int:
        """Return the messages that are not acknowledged."""
        return self.pending + self.ack_pending


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A stream.

    Attributes:
        replicas: intended number of copies.
        clustered: whether it is in a cluster.
        leader: "" if it has none.
        peers: its other copies.
        size, bound: bytes, and how many it may have (-1: no bound), whether the server enforces that already or not.
        refuses: whether a full one refuses its publishers.
        uncovered: messages by version for which there is no consumer (job streams).
    """

    name: str
    replicas: int = 1
    clustered: bool = False
    leader: str = ""
    peers: tuple[Peer, ...] = ()
    messages: int = 0
    size: int = 0
    bound: int = -1
    refuses: bool = True
    consumers: tuple[Consumer, ...] = ()
    uncovered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """A file or directory that only its owner should be able to read, and its mode."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """A credentials file.

    Attributes:
        expires: unix seconds; None never.
        used: whether this command connects with it.
        problem: why it cannot be read.
        foreign: whether it was not made with the keys of this installation (if these are available).
    """

    path: str
    expires: float | None = None
    used: bool = False
    problem: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a directory, in bytes."""

    path: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Facts:
    """An installation at one moment.

    Attributes:
        at: unix seconds.
        url: of the server.
        unreachable: why it cannot be connected to; "" if it can.
        blind: what could not be read, and why.
        servers: those that answered the system account.
        streams: all there are.
        silent: streams that did not answer.
        beats: the last beat of each worker.
        refused: how many heartbeats were not believed, by the service that their subject names.
        services, versions, scales, rollouts: control records.
        unreadable: by key, why a control record cannot be read.
        stored: seconds until a test write was acknowledged; None if it could not be tried.
        not_stored: why it was not stored; "" if it was.
        lease_ages: seconds since each lease was renewed, by the server's clock.
        leases: names of held leases.
        keys: why the keys in the data directory cannot be used, and a remedy; empty if they can, or are elsewhere.
        routes: weight by service and version; None if unknown.
        dead: dead letters by service.
    """

    at: float
    url: str
    unreachable: str = ""
    blind: Mapping[str, str] = field(default_factory=dict)
    servers: tuple[ServerFacts, ...] = ()
    streams: tuple[StreamFacts, ...] = ()
    silent: tuple[str, ...] = ()
    beats: tuple[Beat, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    services: Mapping[str, ServiceRecord] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], VersionRecord] = field(default_factory=dict)
    scales: Mapping[tuple[str, str], ScaleRecord] = field(default_factory=dict)
    rollouts: Mapping[str, RolloutRecord] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    stored: float | None = None
    not_stored: str = ""
    lease_ages: Mapping[str, float] = field(default_factory=dict)
    leases: frozenset[str] = frozenset()
    keys: tuple[str, str] | tuple[()] = ()
    routes: Mapping[str, Mapping[str, int]] | None = None
    dead: Mapping[str, int] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    credentials: tuple[CredentialFacts, ...] = ()
    disks: tuple[Disk, ...] = ()
