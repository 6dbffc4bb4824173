"""How busy tenants are: a moving average in seconds per minute, for a bounded number of names."""

import pytest

from headway.bus.telemetry.busy import TOLD, Busy
from headway.bus.wire.beat import by_tenant


def test_a_steady_load_is_told_in_seconds_per_minute():
    busy = Busy()
    for second in range(600):
        busy.add("acme", 0.5)
        busy.told(float(second))
    assert busy.told(600.0)["acme"] == pytest.approx(30.0, rel=0.02)


def test_who_does_nothing_fades_and_is_forgotten():
    busy = Busy()
    busy.add("acme", 6.0)
    assert busy.told(0.0) == {"acme": 6.0}
    assert busy.told(60.0)["acme"] == pytest.approx(6.0 / 2.718, rel=0.01)
    assert busy.told(3600.0) == {}


def test_the_busiest_are_named_and_the_others_are_one_number():
    busy = Busy()
    for n in range(TOLD + 20):
        busy.add(f"t{n}", 1.0 + n)
    told = busy.told(0.0)
    assert len(told) == TOLD + 1
    assert told[f"t{TOLD + 19}"] == TOLD + 20
    assert told[""] == sum(range(1, 21))


def test_work_in_hand_is_counted_by_tenant():
    assert by_tenant([]) == {}
    assert by_tenant(["a", "b", "a"]) == {"a": 2, "b": 1}
    assert by_tenant(f"t{n}" for n in range(TOLD + 5))[""] == 5
