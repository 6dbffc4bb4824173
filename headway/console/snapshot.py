"""A snapshot of the installation, from which the console's rows are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway.bus.client.dead import DeadLetter
from headway.bus.wire.beat import Beat
from headway.console.meter import Flow
from headway.control.fleet import Key
from headway.control.records import LeaseRecord, RolloutRecord, ScaleRecord, ServiceRecord, VersionRecord
from headway.doctor.facts import ServerFacts
from headway.status import Status

__all__ = ["FleetSnapshot", "Key", "WorkerView"]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker.

    Attributes:
        beat: its last heartbeat.
        silent: seconds since.
        cpu: share of a core that it uses.
    """

    beat: Beat
    silent: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """An installation at one moment.

    Attributes:
        at: unix seconds.
        status: what `headway status` shows.
        services, versions, scales, rollouts: the control records.
        workers: those with recent heartbeats.
        flows: recent work of each version.
        together: totals over all versions of a service.
        usual: by service, the share of its work that usually fails, from 0 to 1; a service that is not known yet is
            missing.
        oldest: seconds for which the oldest job of a version has waited or been worked on.
        crowded: by version, how much of the unfinished messages that it may have its fullest consumer has, from 0 to 1.
        letters: the last dead letters, oldest first.
        servers: those that answered.
        leases: the leaders.
        unreadable: by key, why a control record cannot be read.
        blind: what could not be read, and why.
        headway: version of this process.
    """

    at: float
    status: Status
    services: Mapping[str, ServiceRecord] = field(default_factory=dict)
    versions: Mapping[Key, VersionRecord] = field(default_factory=dict)
    scales: Mapping[Key, ScaleRecord] = field(default_factory=dict)
    rollouts: Mapping[str, RolloutRecord] = field(default_factory=dict)
    workers: tuple[WorkerView, ...] = ()
    flows: Mapping[Key, Flow] = field(default_factory=dict)
    together: Mapping[str, Flow] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)
    oldest: Mapping[Key, float] = field(default_factory=dict)
    crowded: Mapping[Key, float] = field(default_factory=dict)
    letters: tuple[DeadLetter, ...] = ()
    servers: tuple[ServerFacts, ...] = ()
    leases: Mapping[str, LeaseRecord] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    blind: Mapping[str, str] = field(default_factory=dict)
    headway: str = ""
