"""The arithmetic that the claims rest on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.numbers import OURS, medians, quantile, ratios

SAMPLES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def test_a_ratio_is_ours_divided_by_the_peers_round_by_round() -> None:
    assert ratios({OURS: [20.0, 10.0, 30.0], "peer": [10.0, 10.0, 10.0]}) == {"peer": 2.0}


def test_a_slow_minute_that_hits_all_contenders_of_a_round_does_not_change_the_ratio() -> None:
    calm = ratios({OURS: [20.0, 20.0, 20.0], "peer": [10.0, 10.0, 10.0]})
    disturbed = ratios({OURS: [20.0, 2.0, 20.0], "peer": [10.0, 1.0, 10.0]})
    assert disturbed == calm


def test_contenders_with_different_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rounds"):
        ratios({OURS: [1.0], "peer": [1.0, 2.0]})


def test_nothing_is_claimed_without_a_round() -> None:
    with pytest.raises(ValueError, match="rounds"):
        ratios({OURS: [], "peer": []})
    with pytest.raises(ValueError, match="no round"):
        medians({"peer": []})


def test_one_outlier_does_not_move_a_median() -> None:
    assert medians({"peer": [10.0, 11.0, 9999.0]}) == {"peer": 11.0}


@given(SAMPLES, st.floats(0, 1))
def test_a_quantile_is_a_value_that_was_measured(samples: list[float], q: float) -> None:
    assert quantile(samples, q) in samples


@given(SAMPLES)
def test_quantiles_grow_from_the_smallest_to_the_largest_sample(samples: list[float]) -> None:
    assert quantile(samples, 0) == min(samples)
    assert quantile(samples, 1) == max(samples)
    assert quantile(samples, 0.5) <= quantile(samples, 0.99)


def test_the_99th_percentile_of_a_hundred_samples_is_the_second_largest() -> None:
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0


@pytest.mark.parametrize(("samples", "q"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_quantile_of_nothing_or_beyond_one_is_refused(samples: list[float], q: float) -> None:
    with pytest.raises(ValueError, match=r"samples|not in"):
        quantile(samples, q)
