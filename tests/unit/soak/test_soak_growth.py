"""What a soak run calls growth: histories that are flat pass, and each leak is found."""

from __future__ import annotations

import random

import pytest

from tests.soak.growth import ENOUGH, LIMITS, SETTLED, Sample, growth, table

NAMES = tuple(LIMITS)


def run(releases: int, per_release=None, noise=0.0, filling=0.0, each=3) -> list[Sample]:
    """Samples of a run: `each` a release, with what a release adds, noise, and what fills up in the first ones."""
    chance, adds = random.Random(1), per_release or {}
    return [
        Sample(
            at=float(number * each + part),
            releases=number,
            values={
                name: 100
                + adds.get(name, 0.0) * number
                + filling * min(number, SETTLED)
                + chance.uniform(-noise, noise)
                for name in NAMES
            },
        )
        for number in range(releases + 1)
        for part in range(each)
    ]


def test_a_run_whose_values_stay_is_flat():
    assert all(one.flat and one.slope == 0 for one in growth(run(40)))


def test_noise_is_no_growth():
    assert all(one.flat for one in growth(run(60, noise=1.5)))


def test_what_fills_up_during_the_first_releases_is_no_growth():
    assert all(one.flat for one in growth(run(40, filling=20.0)))


@pytest.mark.parametrize("name", NAMES)
def test_a_leak_of_one_a_release_is_found_by_its_name(name):
    found = growth(run(60, {name: 1.0}, noise=1.0))
    assert [one.name for one in found if not one.flat] == [name]


def test_a_burst_at_the_end_is_no_growth():
    samples = run(40)
    burst = [Sample(one.at, one.releases, dict.fromkeys(NAMES, 900.0)) for one in samples[-6:]]
    assert all(one.flat for one in growth([*samples[:-6], *burst]))


def test_what_becomes_less_is_flat():
    assert all(one.flat and one.slope < 0 for one in growth(run(40, dict.fromkeys(NAMES, -2.0))))


def test_after_too_few_releases_nothing_is_said():
    assert growth([]) == []
    assert growth(run(SETTLED + ENOUGH - 1, {"processes": 5.0})) == []
    assert growth(run(SETTLED + ENOUGH)) != []


def test_the_table_names_what_grows():
    text = table(growth(run(40, {"processes": 1.0})))
    assert [row.split()[0] for row in text.splitlines() if "GROWS" in row] == ["processes"]
