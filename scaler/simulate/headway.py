"""Headway as a contender: `headway.scaler.decide` with what `headway.scaler.observe` would have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headway.control.records import Lag, Scale
from headway.scaler.decide import NEW, History, decide
from headway.scaler.observation import Observation
from headway.scaler.simulate.model import FleetView, Workload

INTERVAL: Final = 0.5
"""Seconds between two decisions of the controller."""


def scale_of(load: Workload) -> Scale:
    """Return the default policies, with the bounds and the deadline of a workload."""
    return Scale(min=load.minimum, max=load.maximum, lag=Lag(drain_within=load.within))


@dataclass(slots=True)
class Headway:
    """Decides as the scaler does.

    Attributes:
        load: the simulated workload.
        scale: policies; `scale_of(load)` by default.
    """

    load: Workload
    scale: Scale | None = None
    name: str = "headway"
    interval: float = INTERVAL
    _history: History = NEW
    _last: FleetView | None = None

    def decide(self, view: FleetView) -> int:
        """Decide as the scaler does, from what it would have observed."""
        decision = decide(self.scale or scale_of(self.load), self._observe(view), self._history, current=view.desired)
        self._history, self._last = decision.history, view
        return decision.desired

    def _observe(self, view: FleetView) -> Observation:
        last, load = self._last, self.load
        passed = view.at - last.at if last is not None else 0.0
        finished = (view.finished - last.finished) / passed if last is not None else 0.0
        return Observation(
            at=view.at,
            workers=view.serving,
            pending=view.waiting,
            ack_pending=view.in_hand,
            oldest_s=view.oldest_s,
            arrivals=(view.arrived - last.arrived) / passed if last is not None else None,
            finished=finished,
            service_s=load.service_s if finished else None,
            work_cpu_s=load.work_cpu_s if finished else None,
            in_hand=view.in_hand,
            slots=load.slots if view.serving else None,
            cpu=finished * load.work_cpu_s,
        )
