"""OpenTelemetry metrics of client sync: connections and requests of pages."""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from headway.bus.telemetry.gauges import Gauges
from headway.bus.telemetry.otel import durations

_CONNECTIONS: Final = "headway.sync.connections"


class SyncMetrics:
    """The instruments of one instance."""

    def __init__(self) -> None:
        self._gauges = Gauges({_CONNECTIONS: ("{connection}", "Browsers connected to all servers.")})
        meter = metrics.get_meter("headway")
        self._duration = durations("headway.sync.request.duration", "Duration of a page's requests, waiting included.")
        self._changes = meter.create_counter(
            "headway.sync.changes", unit="{change}", description="Changes that pulls were answered with."
        )
        self._sessions = meter.create_counter(
            "headway.sync.sessions", unit="{session}", description="Sessions opened and renewed."
        )

    def connected(self, count: int) -> None:
        """Set the number of connected browsers."""
        self._gauges.show({_CONNECTIONS: [Observation(count)]})

    def asked(self, kind: str, took: float, error: str | None) -> None:
        """Record a page's request.

        Args:
            kind: "pull" or "submit".
            took: seconds until it was answered or refused.
            error: code of the error if it was refused.
        """
        self._duration.record(took, {"headway.kind": kind, **({"error.type": error} if error else {})})

    def told(self, changes: int) -> None:
        """Count the changes in the answer to a pull."""
        self._changes.add(changes)

    def opened(self) -> None:
        """Count a session that was opened."""
        self._sessions.add(1)
