"""The scaler's OpenTelemetry metrics: for each version its workers, its desired workers and its backlog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from headway.bus.telemetry.gauges import Gauges, Values
from headway.bus.telemetry.otel import durations
from headway.control.tenants import TenantLoad, busiest
from headway.scaler.lag import ConsumerLag, together
from headway.scaler.plan import WorkerState

_DESCRIBED: Final = {
    "headway.workers": ("{worker}", "Workers there are, by state."),
    "headway.workers.desired": ("{worker}", "Workers there should be."),
    "headway.queue.waiting": ("{message}", "Jobs and events that are not delivered yet."),
    "headway.queue.unfinished": ("{message}", "Jobs and events delivered and not finished, retries included."),
    "headway.queue.age": ("s", "Upper estimate of the age of the oldest job or event that is not finished."),
    "headway.tenant.busy": ("s", "Handler seconds in a minute, for the busiest tenants and for all others together."),
    "headway.tenant.unfinished": ("{message}", "Calls, jobs and events in hand, for the same tenants."),
    "headway.tenant.sidelined": ("{version}", "Versions in which a tenant is sidelined."),
}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version in one round.

    Attributes:
        desired: desired workers.
        members: its workers.
        starting: workers that were started and are not listed yet.
        lanes: its backlog; None if unknown.
    """

    service: str
    version: str
    desired: int
    members: Sequence[WorkerState]
    starting: int
    lanes: Sequence[ConsumerLag] | None


def values(seen: Iterable[VersionStatus], tenants: Mapping[str, TenantLoad] | None = None) -> Values:
    """Return the gauges of one round. Pure.

    Args:
        seen: all versions.
        tenants: what each tenant has; the busiest are named, and the others added up.
    """
    told: dict[str, list[Observation]] = {name: [] for name in _DESCRIBED}
    for one in seen:
        labels = {"headway.service": one.service, "headway.version": one.version}
        told["headway.workers.desired"].append(Observation(one.desired, labels))
        states = Counter(_state(member) for member in one.members)
        states["starting"] += one.starting
        for state in ("starting", "serving", "draining", "sick"):
            told["headway.workers"].append(Observation(states[state], {**labels, "headway.state": state}))
        if one.lanes is None:
            continue
        queue = together(one.lanes)
        for name, value in (
            ("headway.queue.waiting", queue.pending),
            ("headway.queue.unfinished", queue.ack_pending),
            ("headway.queue.age", queue.oldest_s),
        ):
            told[name].append(Observation(value, labels))
    for tenant, load in busiest(dict(tenants or {})).items():
        labels = {"headway.tenant": tenant or "others"}
        told["headway.tenant.busy"].append(Observation(load.busy, labels))
        told["headway.tenant.unfinished"].append(Observation(load.in_hand, labels))
        told["headway.tenant.sidelined"].append(Observation(len(load.aside), labels))
    return told


def _state(member: WorkerState) -> str:
    if member.draining_since is not None:
        return "draining"
    if member.sick is not None:
        return "sick"
    return "serving" if member.serving else "starting"


class ScalerMetrics:
    """The instruments of one scaler.

    Args:
        leads: whether this scaler is the leader; only the leader reports gauges.
    """

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._gauges = Gauges(_DESCRIBED, leads)
        meter = metrics.get_meter("headway")
        self._deaths = meter.create_counter(
            "headway.workers.deaths", unit="{worker}", description="Workers that ended without being stopped."
        )
        self._rounds = durations("headway.scaler.round.duration", "Duration of one round over all versions.")

    def round(self, seen: Iterable[VersionStatus], took: float, tenants: Mapping[str, TenantLoad]) -> None:
        """Record a round that took so many seconds."""
        seen = tuple(seen)
        self._gauges.show(values(seen, tenants))
        self._rounds.record(took)
        for one in seen:
            self.died(one.service, one.version, 0)  # a counter that starts at one does not show its first increase

    def died(self, service: str, version: str, count: int = 1) -> None:
        """Count workers that ended without being stopped."""
        self._deaths.add(count, {"headway.service": service, "headway.version": version})
