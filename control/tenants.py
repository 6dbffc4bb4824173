"""What each tenant has of the workers, added up over all heartbeats. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from headway.bus.telemetry.outcomes import OTHERS
from headway.bus.wire.beat import Beat

SHOWN: Final = 50
"""Maximum number of tenants that metrics name."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A tenant that is sidelined in one version.

    Attributes:
        service: the service.
        version: the version.
        seconds: how long, by the worker that has known it the longest.
        why: the reason, for people.
    """

    service: str
    version: str
    seconds: float
    why: str


@dataclass(slots=True)
class TenantLoad:
    """What one tenant has of all workers.

    Attributes:
        busy: handler seconds in a minute.
        in_hand: calls, jobs and events being worked on.
        aside: where it is sidelined.
    """

    busy: float = 0.0
    in_hand: int = 0
    aside: list[Aside] = field(default_factory=list)


def loads(beats: Iterable[Beat]) -> dict[str, TenantLoad]:
    """Add up heartbeats by tenant; `OTHERS` stands for those that workers do not name.

    Args:
        beats: the last heartbeat of each worker.
    """
    found: dict[str, TenantLoad] = defaultdict(TenantLoad)
    aside: dict[tuple[str, str, str], Aside] = {}
    for beat in beats:
        if beat.state == "stopped":
            continue
        for tenant, seconds in beat.busy.items():
            found[tenant].busy += seconds
        for tenant, count in beat.hands.items():
            found[tenant].in_hand += count
        for tenant, one in beat.sidelined.items():
            key = (tenant, beat.service, beat.version)
            if key not in aside or aside[key].seconds < one.seconds:
                aside[key] = Aside(beat.service, beat.version, one.seconds, one.why)
    for (tenant, _, _), one_place in sorted(aside.items()):
        found[tenant].aside.append(one_place)
    return dict(found)


def busiest(found: dict[str, TenantLoad], most: int = SHOWN) -> dict[str, TenantLoad]:
    """Return the busiest tenants, and the rest together as `OTHERS`."""
    names = sorted((name for name in found if name != OTHERS), key=lambda name: (-found[name].busy, name))
    rest = [found[name] for name in (*names[most:], *([OTHERS] if OTHERS in found else []))]
    shown = {name: found[name] for name in names[:most]}
    if rest:
        shown[OTHERS] = TenantLoad(sum(one.busy for one in rest), sum(one.in_hand for one in rest))
    return shown
