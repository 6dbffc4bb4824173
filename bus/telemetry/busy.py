"""How busy each tenant keeps a worker: handler seconds in a minute, as a moving average."""

from __future__ import annotations

import math
from typing import Final

from headway.bus.telemetry.outcomes import OTHERS

MINUTE: Final = 60.0
TOLD: Final = 50
"""Maximum number of tenants that a worker reports by name; the others are reported together as `OTHERS`."""
_NAMES: Final = 4096
"""Maximum number of tenants that are counted by name."""
_LEAST: Final = 0.001
"""Seconds in a minute below which a tenant is forgotten."""


class Busy:
    """Handler seconds in a minute by tenant."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float]] = {}

    def add(self, tenant: str, seconds: float, now: float) -> None:
        """Count the duration of a call, job or event.

        Args:
            tenant: its tenant.
            seconds: how long it took.
            now: monotonic seconds.
        """
        known = self._known.get(tenant)
        if known is None and len(self._known) >= _NAMES:
            tenant, known = OTHERS, self._known.get(OTHERS)
        value = 0.0 if known is None else _faded(known, now)
        self._known[tenant] = (value + seconds, now)

    def told(self, now: float) -> dict[str, float]:
        """Return the busiest tenants, and all others together; forget those that are not busy any more."""
        current = {tenant: value for tenant, known in self._known.items() if (value := _faded(known, now)) >= _LEAST}
        self._known = {tenant: (value, now) for tenant, value in current.items()}
        others = current.pop(OTHERS, 0.0)
        order = sorted(current, key=lambda tenant: (-current[tenant], tenant))
        others += sum(current[tenant] for tenant in order[TOLD:])
        found = {tenant: round(current[tenant], 3) for tenant in order[:TOLD]}
        return {**found, OTHERS: round(others, 3)} if others >= _LEAST else found


def _faded(known: tuple[float, float], now: float) -> float:
    value, at = known
    return value * math.exp((at - now) / MINUTE)
