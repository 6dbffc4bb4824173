"""OpenTelemetry gauges of a control loop: what its last round saw.

A round shows all its values at once, in place of those before. So what is gone (a version, a lost lease) is told no
more, and the exporter, which reads on a thread of its own, never sees half a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

Values: TypeAlias = Mapping[str, Sequence[Observation]]
"""By the name of the gauge."""


class Gauges:
    """Some gauges, shown together. They cost next to nothing while OpenTelemetry is off.

    Args:
        described: of each gauge its unit (as UCUM writes it) and its description, by its name.
        leads: whether we are the one of several whose word counts; the others tell nothing.
    """

    def __init__(self, described: Mapping[str, tuple[str, str]], leads: Callable[[], bool] = lambda: True) -> None:
        self._values: Values = {}
        self._leads = leads
        meter = metrics.get_meter("headway")
        for name, (unit, description) in described.items():
            meter.create_observable_gauge(name, [self._reader(name)], unit, description)

    def show(self, values: Values) -> None:
        """Replace what is told; a gauge that is left out tells nothing."""
        self._values = values

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: self._values.get(name, ()) if self._leads() else ()
