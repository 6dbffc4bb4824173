"""What the demo has sent so far, by tenant, and its events: the numbers behind the picture."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_RECENT: Final = 60
"""Calls of a tenant from which latencies are shown."""


class DemoEvent(NamedTuple):
    """An action or decision: at (unix seconds), by whom, and why."""

    at: float
    who: str
    text: str


@dataclass(slots=True)
class DemoProgress:
    """Work sent and finished so far.

    Attributes:
        act: what is happening, in words.
        sent: jobs and calls that were sent, by tenant.
        done: those of them with an observed effect, by tenant; a dead letter counts.
        events: what the demo itself did, oldest first.
    """

    act: str = "starting nats-server, the scaler, and workers of three services"
    sent: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    events: list[DemoEvent] = field(default_factory=list)
    _latencies: dict[str, deque[float]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str, who: str = "demo") -> None:
        """Record an event, now."""
        self.events.append(DemoEvent(time.time(), who, text))

    def called(self, tenant: str, seconds: float) -> None:
        """Record the latency of a call."""
        self._latencies.setdefault(tenant, deque(maxlen=_RECENT)).append(seconds)

    def recent(self, tenants: Iterable[str]) -> list[float]:
        """Return the latencies of the tenants' last calls, in seconds."""
        return [seconds for tenant in tenants for seconds in self._latencies.get(tenant, ())]
