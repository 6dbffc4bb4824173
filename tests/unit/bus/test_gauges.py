"""Gauges of a control loop: all of a round, and nothing that is gone."""

from __future__ import annotations

import pytest
from opentelemetry import metrics
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from headway.bus.telemetry.gauges import Gauges

DESCRIBED = {"workers": ("{worker}", "Workers."), "age": ("s", "Age.")}


@pytest.fixture
def told(monkeypatch):
    """`told()`: what an exporter reads now, by gauge and version."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", provider)

    def read() -> dict[tuple[str, str], float]:
        data = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics if data else []
        return {
            (metric.name, point.attributes["version"]): point.value
            for metric in found
            for point in metric.data.data_points
        }

    yield read
    provider.shutdown()


def of(value: float, version: str) -> Observation:
    return Observation(value, {"version": version})


def test_what_is_gone_is_told_no_more(told):
    gauges = Gauges(DESCRIBED)
    assert told() == {}
    gauges.show({"workers": [of(2, "v1"), of(1, "v2")], "age": [of(0.5, "v1")]})
    assert told() == {("workers", "v1"): 2, ("workers", "v2"): 1, ("age", "v1"): 0.5}
    assert told() == told(), "it is told until there is something new"
    gauges.show({"workers": [of(3, "v2")]})
    assert told() == {("workers", "v2"): 3}
    gauges.show({})
    assert told() == {}


def test_whoever_does_not_lead_tells_nothing(told):
    leads = [True]
    gauges = Gauges(DESCRIBED, lambda: leads[-1])
    gauges.show({"workers": [of(2, "v1")]})
    assert told() == {("workers", "v1"): 2}
    leads.append(False)
    assert told() == {}


def test_without_telemetry_nothing_happens():
    Gauges(DESCRIBED).show({"workers": [of(2, "v1")]})
