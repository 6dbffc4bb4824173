"""Latency histograms and their quantiles."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.telemetry.histogram import BUCKETS, Histogram, quantile

samples = st.lists(st.floats(0.0001, 600), min_size=1, max_size=200)


def test_buckets_rise_and_none_is_much_wider_than_the_one_before():
    assert all(a < b <= a * 1.67 for a, b in itertools.pairwise(BUCKETS))


@given(samples, st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values, q):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    found = quantile(histogram.counts, q)
    ordered = sorted(values)
    true = ordered[min(len(ordered) - 1, max(0, -(-int(q * len(ordered) * 1e9) // 10**9) - 1))]
    assert found <= true * 1.68 + 0.0001
    assert found >= true / 1.68 - 0.0001


@given(samples, samples)
def test_histograms_of_workers_add_up(first, second):
    both, one, other = Histogram(), Histogram(), Histogram()
    for value in first:
        one.record(value)
        both.record(value)
    for value in second:
        other.record(value)
        both.record(value)
    assert [a + b for a, b in zip(one.counts, other.counts, strict=True)] == both.counts


def test_what_is_longer_than_all_buckets_is_counted_and_not_invented():
    histogram = Histogram()
    histogram.record(10_000)
    assert sum(histogram.counts) == 1
    assert quantile(histogram.counts, 0.99) == BUCKETS[-1]


def test_there_is_no_quantile_of_nothing():
    assert quantile(Histogram().counts, 0.5) is None
    assert Histogram().sum == pytest.approx(0)
