"""The objects of the console's page: one model for each type, in the tenant `headway`.

service.<name>        one line of the overview, with its versions
trend.<name>          its last minutes (headway/console/trends.py)
scaling.<name>        why it has so many workers
rollout.<name>        its `RolloutRecord`, whole
worker.<id>           one worker
dead.<seq>            one of the last dead letters
installation.main     servers, leases, and what could not be read
pulse.projector       shows that a projector runs; the one object that changes on its own
action.<id>           an operator's action (headway/console/actions.py)
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel

TYPES: Final = ("service", "trend", "scaling", "rollout", "worker", "dead", "installation", "pulse")
"""A row, written only by the projector."""

State = Literal["ok", "busy", "rollout", "unwell", "down", "stopped"]


class Load(BaseModel):
    """State and work of a version, or of a whole service.

    Attributes:
        desired: workers that the scaler wants; None without a scaler.
        waiting: jobs on the server; None without jobs.
        oldest_s: seconds for which the oldest job waits or is worked on.
        rate, failed, p95_ms: of the last half minute; `failed` is in percent.
    """

    workers: int
    unhealthy: int
    desired: int | None
    waiting: int | None
    in_hand: int
    oldest_s: int
    rate: float
    failed: float
    p95_ms: float | None
    rss_mb: float


class VersionRow(Load):
    """A version of a service.

    Attributes:
        weight: its share of the traffic in percent; None if unknown.
        phase: as in `VersionRecord`; "" without one.
        health, deaths, last_exit, stderr, retry_at: as in `ScaleRecord`.
    """

    version: str
    weight: int | None
    phase: str
    image: str
    health: str
    deaths: int
    last_exit: str
    stderr: tuple[str, ...]
    retry_at: float | None


class ServiceRow(Load):
    """A service.

    Attributes:
        state: "busy": work waits for long; "rollout": a release is in progress.
        note: the state in a sentence.
        low, high: bounds of its number of workers.
        dead: dead letters.
    """

    name: str
    state: State
    note: str
    low: int
    high: int
    dead: int
    versions: tuple[VersionRow, ...]


class WorkerRow(BaseModel):
    """A worker.

    Attributes:
        state: as in `Beat`, or "silent".
        note: its problem; "" if healthy.
        cpu: percent of a core.
        jobs, slots: jobs and events in progress, and their limit; calls, limit: the same of calls.
    """

    service: str
    version: str
    host: str
    pid: int
    started: float
    state: str
    note: str
    cpu: int
    rss_mb: float
    jobs: int
    slots: int
    calls: int
    limit: int
    oldest_s: int


class DecisionRow(BaseModel):
    """A decision of the scaler."""

    version: str
    at: float
    before: int
    desired: int
    reason: str


class ScalingRow(BaseModel):
    """The last decisions for a service, newest first."""

    decisions: tuple[DecisionRow, ...]


class DeadRow(BaseModel):
    """A dead letter.

    Attributes:
        preview: the beginning of its payload, as text.
        size: bytes of the payload; None if it is in a blob.
    """

    seq: int
    service: str
    tenant: str
    operation: str
    cause: str
    reason: str
    attempts: int
    traceback: str
    at: float
    preview: str
    size: int | None


class ServerRow(BaseModel):
    """A nats-server."""

    name: str
    version: str
    leader: bool
    stored_mb: int
    room_mb: int


class LeaseRow(BaseModel):
    """The leader among a controller's replicas, and how often it has changed."""

    controller: str
    holder: str
    epoch: int


class InstallationRow(BaseModel):
    """The installation as a whole.

    Attributes:
        dead: number of dead letters; the page shows the latest.
        blind: what could not be read, and why.
    """

    url: str
    headway: str
    servers: tuple[ServerRow, ...]
    leases: tuple[LeaseRow, ...]
    dead: int
    blind: dict[str, str]
