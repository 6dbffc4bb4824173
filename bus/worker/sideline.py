"""Decide which tenants are sidelined: their jobs go to lanes of their own. Pure, without I/O.

The server puts the jobs of several tenants into one common lane, first come, first served. A tenant that queues many
jobs there makes the others of its lane wait. So workers move its jobs to another lane, where they wait for each other
only. A tenant that has a common lane to itself harms nobody, and its jobs stay where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from headway.bus.wire.subjects import COMMON, LANES

FEW: Final = 100
"""Maximum number of jobs of one tenant in a common lane that no other tenant has to be protected from."""
FEWEST: Final = 8
"""Minimum of that number when jobs take long."""
WAIT: Final = 0.5
"""Seconds that other tenants may wait for that many jobs, if all slots of a worker do them."""
TIMES: Final = 8
"""A tenant is sidelined when it has more than this many times the jobs of the tenant with the fewest."""
MOST: Final = 64
"""Maximum number of sidelined tenants of one version."""

Queued = Mapping[int, Mapping[str, int]]
"""Unfinished jobs by lane and tenant."""


@dataclass(frozen=True, slots=True)
class Sidelined:
    """A sidelined tenant.

    Attributes:
        home: the common lane that the server puts its jobs into.
        lane: the lane that its jobs are moved to.
        since: when it was sidelined (monotonic seconds).
        why: the reason, for people.
    """

    home: int
    lane: int
    since: float
    why: str


def few(mean: float, slots: int) -> int:
    """Return how many jobs a tenant may have in a common lane without being sidelined.

    Args:
        mean: mean seconds that a job takes; 0 if unknown.
        slots: jobs that one worker does at once.
    """
    if mean <= 0:
        return FEW
    return max(FEWEST, min(FEW, int(WAIT * slots / mean)))


def decide(
    queued: Queued,
    recent: Mapping[int, Collection[str]],
    sidelined: Mapping[str, Sidelined],
    few: int,
    now: float,
) -> dict[str, Sidelined]:
    """Decide who is sidelined.

    A tenant is sidelined when it has more than `few` jobs in a common lane, and more than `TIMES` times as many as
    another tenant of that lane. It stays so until all jobs that were moved are done and few are left.

    Args:
        queued: unfinished jobs.
        recent: tenants that had jobs in a common lane lately.
        sidelined: who is sidelined now.
        few: maximum number of jobs that harm nobody.
        now: monotonic seconds.

    Returns:
        who is sidelined from now on, at most `MOST` tenants.
    """
    found = {tenant: one for tenant, one in sidelined.items() if not _is_over(tenant, one, queued, few)}
    begins: list[tuple[int, str, int, int]] = []
    for home in range(COMMON):
        jobs = queued.get(home, {})
        tenants = {*jobs, *recent.get(home, ())} - found.keys()
        if len(tenants) < 2:
            continue
        fewest = min(jobs.get(tenant, 0) for tenant in tenants)
        limit = max(few, TIMES * fewest)
        begins.extend((count, tenant, home, fewest) for tenant in tenants if (count := jobs.get(tenant, 0)) > limit)
    for count, tenant, home, fewest in sorted(begins, reverse=True)[: MOST - len(found)]:
        why = f"{count} jobs in lane {home}, another tenant of the lane has {fewest}"
        found[tenant] = Sidelined(home, _lane(tenant, queued, found), now, why)
    return found


def _is_over(tenant: str, one: Sidelined, queued: Queued, few: int) -> bool:
    moved = any(queued.get(lane, {}).get(tenant) for lane in range(COMMON, LANES))
    return not moved and queued.get(one.home, {}).get(tenant, 0) <= few


def _lane(tenant: str, queued: Queued, sidelined: Mapping[str, Sidelined]) -> int:
    """Choose a lane: where its jobs are already, or the one with the fewest tenants.

    Workers with the same view choose the same lane. If they do not, the tenant has two lanes until they are empty.
    """
    holding: dict[int, set[str]] = {lane: set(queued.get(lane, ())) for lane in range(COMMON, LANES)}
    for other, one in sidelined.items():
        holding[one.lane].add(other)
    own = {lane: queued[lane][tenant] for lane, tenants in holding.items() if tenant in tenants}
    if own:
        return max(own, key=lambda lane: (own[lane], lane))
    first = crc32(tenant.encode())
    return min(holding, key=lambda lane: (len(holding[lane]), (lane - first) % (LANES - COMMON)))
