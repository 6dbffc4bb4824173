"""The jobs for later by when they are due, with a fair order among tenants. Pure.

A million entries take about 45 MB: each is one integer in its tenant's heap.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container
from typing import Final

_SEQ_BITS: Final = 48
_SEQ_MASK: Final = (1 << _SEQ_BITS) - 1


class DueJobs:
    """Jobs by due time. Of jobs that are due, each tenant's turn gives one: no tenant holds up the others."""

    def __init__(self) -> None:
        self._jobs: dict[str, list[int]] = {}
        self._heads: list[tuple[int, str]] = []
        """Heap of (due, tenant): for each tenant whose turn it is not, its first job; also outdated entries."""
        self._turns: deque[str] = deque()
        """Tenants with due jobs, in the order of their turns."""
        self._has_turn: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, seq: int, due: int, tenant: str) -> None:
        """Add a job.

        Args:
            seq: its sequence in the stream.
            due: unix milliseconds.
            tenant: its tenant.
        """
        jobs = self._jobs.setdefault(tenant, [])
        heapq.heappush(jobs, due << _SEQ_BITS | seq)
        self._count += 1
        if tenant not in self._has_turn and jobs[0] >> _SEQ_BITS == due:
            heapq.heappush(self._heads, (due, tenant))

    def next_due(self) -> int | None:
        """Return when the next job is due in unix milliseconds, 0 if one was due before; None without jobs."""
        if self._turns:
            return 0
        while self._heads:
            due, tenant = self._heads[0]
            if self._first(tenant) == due:
                return due
            heapq.heappop(self._heads)
        return None

    def take(self, now: int, busy: Container[str] = ()) -> tuple[int, str] | None:
        """Remove a due job and return its sequence and tenant; None if none is due.

        Args:
            now: unix milliseconds.
            busy: tenants whose turn is skipped.
        """
        while self._heads and self._heads[0][0] <= now:
            due, tenant = heapq.heappop(self._heads)
            if tenant not in self._has_turn and self._first(tenant) == due:
                self._turns.append(tenant)
                self._has_turn.add(tenant)
        for _ in range(len(self._turns)):
            tenant = self._turns.popleft()
            first = self._first(tenant)
            if first is not None and first <= now and tenant in busy:
                self._turns.append(tenant)
                continue
            if first is None or first > now:  # the clock was set back
                self._leave(tenant, first)
                continue
            seq = heapq.heappop(self._jobs[tenant]) & _SEQ_MASK
            self._count -= 1
            following = self._first(tenant)
            if following is not None and following <= now:
                self._turns.append(tenant)
            else:
                self._leave(tenant, following)
            return seq, tenant
        return None

    def _first(self, tenant: str) -> int | None:
        jobs = self._jobs.get(tenant)
        return jobs[0] >> _SEQ_BITS if jobs else None

    def _leave(self, tenant: str, first: int | None) -> None:
        """End a tenant's turns until its first job is due."""
        self._has_turn.discard(tenant)
        if first is None:
            self._jobs.pop(tenant, None)
        else:
            heapq.heappush(self._heads, (first, tenant))
