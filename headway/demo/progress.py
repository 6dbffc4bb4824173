"""What the demo has sent so far, tenant by tenant, and what it has said: the numbers behind the picture."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_RECENT: Final = 60
"""Calls of a tenant whose latencies are shown."""


class DemoEvent(NamedTuple):
    """Something that was done or decided: at (unix seconds), by whom, and why."""

    at: float
    who: str
    text: str


@dataclass(slots=True)
class DemoProgress:
    """What was sent and what became of it so far.

    Attributes:
        act: what is happening, in words.
        sent: jobs and calls that were sent, by tenant.
        done: of them those whose effect was seen, by tenant; a dead letter is one.
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
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str, who: str = "demo") -> None:
        """Note what was done, now."""
        self.events.append(DemoEvent(time.time(), who, text))

    def called(self, tenant: str, seconds: float) -> None:
        """Note the latency of a call."""
        self._latencies.setdefault(tenant, deque(maxlen=_RECENT)).append(seconds)

    def recent(self, tenants: Iterable[str]) -> list[float]:
        """Return the latencies of the last calls of tenants, in seconds."""
        return [seconds for tenant in tenants for seconds in self._latencies.get(tenant, ())]
