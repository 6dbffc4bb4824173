"""What the console's page is sent: one model for each type of object of the tenant `headway`.

service.<name>        one line of the overview, with its versions
trend.<name>          its last minutes (headway/console/trends.py)
scaling.<name>        why it has so many workers
rollout.<name>        its `RolloutRecord`, whole
worker.<id>           one worker
dead.<seq>            one of the last dead letters
installation.main     servers, leases, and what could not be looked at
pulse.projector       that somebody keeps the others up to date; the one object that changes on its own
action.<id>           what an operator had done here (headway/console/actions.py)
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel

TYPES: Final = ("service", "trend", "scaling", "rollout", "worker", "dead", "installation", "pulse")
"""What the projector writes, and nobody else."""

State = Literal["ok", "busy", "rollout", "unwell", "down", "stopped"]


class Load(BaseModel):
    """What a version, or all of a service, has and does.

    Attributes:
        desired: workers that the scaler wants; None where none decides.
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
        weight: its share of the traffic in percent; None if it is not known.
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
        state: "busy" has work that waits for long, "rollout" is being released.
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
        note: what is wrong with it; "" if nothing is.
        cpu: percent of a core.
        jobs, slots: jobs and events in hand, and how many these may be; calls, limit: the same of calls.
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
    """The last decisions about a service, the newest first."""

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
    """Who leads of several equal controllers, and how often that has changed."""

    controller: str
    holder: str
    epoch: int


class InstallationRow(BaseModel):
    """The installation as a whole.

    Attributes:
        dead: how many dead letters there are; the page has the last ones.
        blind: what could not be looked at, and why.
    """

    url: str
    headway: str
    servers: tuple[ServerRow, ...]
    leases: tuple[LeaseRow, ...]
    dead: int
    blind: dict[str, str]
