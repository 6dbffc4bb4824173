"""Which calls a worker serves when more arrive than it may serve at once. Pure.

While there is room, every call is served. A full worker refuses calls of the tenant with the most calls in hand. A
tenant with fewer waits for the next slot: it gets it before anybody else, so that one tenant's flood leaves the others
their share (max-min fairness; Bertsekas and Gallager, Data Networks, section 6.5). Nobody is refused who is alone.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Generic, TypeVar

C = TypeVar("C")


class Verdict(Enum):
    """What becomes of a call that arrives."""

    SERVE = "serve"
    WAIT = "wait"
    REFUSE = "refuse"


class Admission(Generic[C]):
    """The calls in hand by tenant, and those that wait for a slot.

    Args:
        limit: calls that are served at once; as many may wait.
    """

    __slots__ = ("_held", "_limit", "_queued", "_served", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._served = 0
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[C]] = {}
        self._queued = 0

    @property
    def waiting(self) -> int:
        """Number of calls that wait."""
        return self._queued

    def arrive(self, tenant: str, call: C) -> Verdict:
        """Decide on a call. One that waits is returned by `leave` later, or taken out by `withdraw`.

        Args:
            tenant: whose call it is.
            call: the call.
        """
        if self._served < self._limit:
            self._serve(tenant)
            return Verdict.SERVE
        queue = self._waiting.get(tenant)
        mine = self._held.get(tenant, 0) + (len(queue) if queue is not None else 0)
        # With the slot of a tenant that has the most, this one still has no more than that tenant.
        if mine + 1 >= max(self._held.values()) or self._queued >= self._limit:
            return Verdict.REFUSE
        if queue is None:
            queue = self._waiting[tenant] = deque()
        queue.append(call)
        self._queued += 1
        return Verdict.WAIT

    def leave(self, tenant: str) -> C | None:
        """Free the slot of a call that has ended; return the call that takes it, if one waits."""
        self._served -= 1
        left = self._held[tenant] - 1
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant]
        if not self._queued:
            return None
        # The first of those with the fewest calls: a dict keeps the order in which tenants began to wait.
        next_ = min(self._waiting, key=lambda one: self._held.get(one, 0))
        call = self._waiting[next_].popleft()
        self._took(next_)
        self._serve(next_)
        return call

    def withdraw(self, tenant: str, call: C) -> bool:
        """Take out a call that waits; return False if it does not wait."""
        queue = self._waiting.get(tenant)
        if queue is None or call not in queue:
            return False
        queue.remove(call)
        self._took(tenant)
        return True

    def _serve(self, tenant: str) -> None:
        self._served += 1
        self._held[tenant] = self._held.get(tenant, 0) + 1

    def _took(self, tenant: str) -> None:
        """Note that a call of a tenant no longer waits."""
        self._queued -= 1
        queue = self._waiting.pop(tenant)
        if queue:
            self._waiting[tenant] = queue  # behind the others
