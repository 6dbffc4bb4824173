"""What retired versions leave behind, and what of it can be removed. Pure.

A version that is retired keeps its records and its image for a rollback, while it is one of the last few. Its
consumers are removed earlier, since a server allows only a limited number, but never while they hold a message, which
would be stranded. Anything unknown counts as in use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from headway.control.records import RolloutRecord, VersionRecord

KEEP: Final = 10
"""Retired versions of a service that can be rolled back to: their records and images stay."""
SPARE: Final = 2
"""Number of these that keep their consumers for `LINGER`; those of older ones are removed at once."""
LINGER: Final = 60.0
"""Seconds for which a retired version keeps its consumers: a job in transit may still arrive."""
ORPHANED_FOR: Final = 3600.0
"""Seconds for which the consumer of an unhandled event is reported before it is removed."""


@dataclass(frozen=True, slots=True)
class Remains:
    """The remains of one service.

    Attributes:
        versions: their records, in the order of their last write.
        rollout: its current or last rollout.
        alive: workers by version; None if not known yet.
        left: unfinished jobs of each version that has consumers; None if unknown.
        routed: versions that get new traffic; None if unknown.
        retired_for: seconds since each version was first seen retired.
        handled: event types that the deployed versions handle; None if one of them cannot be asked.
        events: unfinished events by event type that the service has a consumer for; None if unknown.
        orphaned_for: seconds since each event type was first seen unhandled.
    """

    versions: Mapping[str, VersionRecord]
    rollout: RolloutRecord | None = None
    alive: Mapping[str, int] | None = None
    left: Mapping[str, int] | None = None
    routed: Collection[str] | None = None
    retired_for: Mapping[str, float] = field(default_factory=dict)
    handled: Collection[str] | None = None
    events: Mapping[str, int] | None = None
    orphaned_for: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can be removed.

    Attributes:
        consumers: versions whose lane consumers hold nothing.
        records: versions whose records and image are no longer needed.
        events: event types whose consumer no version needs, with what it holds.
        orphans: event types that no deployed version handles, removed now or later.
    """

    consumers: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()


def garbage(remains: Remains, *, keep: int = KEEP, spare: int = SPARE) -> Garbage:
    """Return what can be removed of a service.

    Args:
        remains: its remains.
        keep: retired versions whose records and images stay.
        spare: retired versions whose consumers stay for a while.
    """
    retired = _retired(remains)
    consumers = tuple(
        version
        for place, version in enumerate(reversed(retired))
        if remains.left is not None
        and remains.left.get(version) == 0
        and (place >= spare or remains.retired_for.get(version, 0.0) >= LINGER)
    )
    kept = set() if remains.left is None else remains.left.keys() - set(consumers)
    old = retired[: max(0, len(retired) - keep)]
    records = tuple(version for version in old if remains.left is not None and version not in kept)
    orphans = _orphans(remains)
    events = {
        event: (remains.events or {}).get(event, 0)
        for event in orphans
        if remains.orphaned_for.get(event, 0.0) >= ORPHANED_FOR
    }
    return Garbage(consumers, records, events, orphans)


def deployed(remains: Remains) -> set[str]:
    """Return the versions that should have workers: consumers of events follow them."""
    return {version for version, record in remains.versions.items() if record.phase != "retired"} | _needed(remains)


def _retired(remains: Remains) -> list[str]:
    """Return the versions that are certainly out of use, the longest first."""
    if remains.alive is None or remains.routed is None:
        return []
    busy = _needed(remains) | {version for version, workers in remains.alive.items() if workers} | {*remains.routed}
    return [
        version
        for version, record in remains.versions.items()
        if record.phase == "retired" and not record.weight and version not in busy
    ]


def _needed(remains: Remains) -> set[str]:
    """Return the versions of the rollout. Late jobs of the losing version are still taken over."""
    rollout = remains.rollout
    return set() if rollout is None else {version for version in (rollout.version, rollout.before) if version}


def _orphans(remains: Remains) -> tuple[str, ...]:
    if remains.events is None or remains.handled is None:
        return ()
    return tuple(sorted(set(remains.events) - set(remains.handled)))
