"""The deployer's OpenTelemetry metrics: traffic shares, and the progress of each release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.metrics import Observation

from headway.bus.telemetry.gauges import Gauges, Values
from headway.control.records import RolloutRecord, VersionRecord

_DESCRIBED: Final = {
    "headway.version.weight": ("%", "Share of the service's new traffic that a version gets."),
    "headway.rollout.phase": ("", "1 for the phase that a service's last release is in."),
}


def values(versions: Iterable[VersionRecord], rollouts: Iterable[RolloutRecord]) -> Values:
    """Return the gauges of one round. Pure."""
    return {
        "headway.version.weight": [
            Observation(one.weight, {"headway.service": one.service, "headway.version": one.version})
            for one in versions
            if one.weight or one.phase != "retired"
        ],
        "headway.rollout.phase": [
            Observation(1, {"headway.service": one.service, "headway.version": one.version, "headway.phase": one.phase})
            for one in rollouts
        ],
    }


class DeployerMetrics:
    """The instruments of one deployer.

    Args:
        leads: whether this deployer is the leader; only the leader reports gauges.
    """

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._gauges = Gauges(_DESCRIBED, leads)

    def round(self, versions: Iterable[VersionRecord], rollouts: Iterable[RolloutRecord]) -> None:
        """Update the metrics after the records were read."""
        self._gauges.show(values(versions, rollouts))
