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

    __slots__ = ("_at", "_known", "_new")

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._new: dict[str, float] = {}
        self._at = 0.0

    def add(self, tenant: str, seconds: float) -> None:
        """Count the duration of a call, job or event. It fades from the next `told()` on, so that this is cheap."""
        new = self._new
        if tenant not in new and len(new) >= _NAMES:
            tenant = OTHERS
        new[tenant] = new.get(tenant, 0.0) + seconds

    def told(self, now: float) -> dict[str, float]:
        """Return the busiest tenants, and all others together; forget those that are not busy any more.

        Args:
            now: monotonic seconds.
        """
        faded = math.exp((self._at - now) / MINUTE)
        current = {tenant: value for tenant, was in self._known.items() if (value := was * faded) >= _LEAST}
        for tenant, seconds in self._new.items():
            name = tenant if tenant in current or len(current) < _NAMES else OTHERS
            current[name] = current.get(name, 0.0) + seconds
        self._known, self._new, self._at = dict(current), {}, now
        others = current.pop(OTHERS, 0.0)
        order = sorted(current, key=lambda tenant: (-current[tenant], tenant))
        others += sum(current[tenant] for tenant in order[TOLD:])
        found = {tenant: round(current[tenant], 3) for tenant in order[:TOLD]}
        return {**found, OTHERS: round(others, 3)} if others >= _LEAST else found
