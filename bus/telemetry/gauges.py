"""OpenTelemetry gauges that show the last round of a control loop.

Each round replaces all values at once. So values of a removed version or a lost lease disappear, and the exporter,
which reads in its own thread, never sees half a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

Values: TypeAlias = Mapping[str, Sequence[Observation]]
"""Observations by gauge name."""


class Gauges:
    """A set of gauges that change together. They cost next to nothing while OpenTelemetry is off.

    Args:
        described: unit (in UCUM notation) and description of each gauge, by name.
        leads: returns whether this process is the leader; the others export nothing.
    """

    def __init__(self, described: Mapping[str, tuple[str, str]], leads: Callable[[], bool] = lambda: True) -> None:
        self._values: Values = {}
        self._leads = leads
        meter = metrics.get_meter("headway")
        for name, (unit, description) in described.items():
            meter.create_observable_gauge(name, [self._reader(name)], unit, description)

    def show(self, values: Values) -> None:
        """Replace all values; a gauge without values exports nothing."""
        self._values = values

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: self._values.get(name, ()) if self._leads() else ()
