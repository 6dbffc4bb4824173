"""How a policy is written: durations, shares and sizes as people write them; what cannot be is refused, and why."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headway.control.records import Latency, Scale


def test_quantities_are_read_as_people_write_them():
    scale = Scale.model_validate(
        {
            "lag": {"drain_within": "500ms"},
            "cpu": {"target": "75%"},
            "latency": {"p95": "2s"},
            "memory": "512MiB",
            "down_after": "1m",
        }
    )
    assert scale.lag is not None
    assert scale.cpu is not None
    assert scale.latency is not None
    assert (scale.lag.drain_within, scale.cpu.target, scale.latency.p95) == (0.5, 0.75, 2.0)
    assert (scale.memory, scale.down_after) == (512 << 20, 60.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lag": {"drain_within": "soon"}}, "'soon' is not a duration"),
        ({"cpu": {"target": "high"}}, "'high' is not a share"),
        ({"cpu": {"target": "140%"}}, "less than or equal to 1"),
        ({"memory": "much"}, "'much' is not a size"),
        ({"min": 3, "max": 2}, "min 3 is more than max 2"),
        ({"latency": {}}, "give mean, p95 or both"),
        ({"lags": {}}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Scale.model_validate(values)


def test_a_fixed_number_has_no_policies():
    scale = Scale.fixed(3)
    assert (scale.min, scale.max, scale.lag, scale.cpu, scale.inflight) == (3, 3, None, None, None)
    with pytest.raises(ValidationError):
        Latency()
