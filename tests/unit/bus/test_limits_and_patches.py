"""Token buckets and merge patches: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.client.limits import Rates
from headway.bus.client.mergepatch import merged
from headway.bus.errors import RateLimited

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def test_a_burst_is_allowed_then_the_rate():
    rates = Rates(rate=10, burst=3)
    assert [rates.take("acme", 0.0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("acme", 0.0) == pytest.approx(0.1)
    assert rates.take("acme", 0.05) == pytest.approx(0.05)
    assert rates.take("acme", 0.1) == 0
    assert rates.take("acme", 100.0) == 0


def test_keys_do_not_share_and_the_longest_unused_is_forgotten():
    rates = Rates(rate=1, burst=1, keys=2)
    assert rates.take("a", 0.0) == 0
    assert rates.take("b", 0.0) == 0
    assert rates.take("a", 0.0) > 0
    assert rates.take("c", 0.0) == 0  # b is forgotten
    assert len(rates) == 2
    assert rates.take("a", 0.0) > 0
    assert rates.take("b", 0.0) == 0


def test_looking_takes_nothing():
    rates = Rates(rate=1, burst=1)
    for _ in range(5):
        rates.check("a", 0.0, "tries", take=False)
    rates.check("a", 0.0, "tries")
    with pytest.raises(RateLimited, match="too many tries") as caught:
        rates.check("a", 0.0, "tries", take=False)
    assert caught.value.retry_after == pytest.approx(1.0)


def test_what_was_done_already_is_paid_for_later():
    rates = Rates(rate=1, burst=2)
    rates.charge("a", 0.0, 10)
    assert rates.take("a", 0.0) == pytest.approx(9)
    assert rates.take("a", 9.0) == 0
    rates.charge("b", 0.0, 1)
    assert rates.take("b", 0.0) == 0


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50), st.floats(0.5, 50), st.floats(1, 20))
def test_never_more_than_burst_and_rate_allow(gaps, rate, burst):
    rates, now, taken = Rates(rate, burst), 0.0, 0
    for gap in gaps:
        now += gap
        taken += rates.take("k", now) == 0
    assert taken <= burst + rate * now + 1e-6


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the table of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_merge_as_the_rfc_says(target, patch, result):
    assert merged(target, patch) == result


@given(json, json)
def test_merging_twice_is_merging_once_and_leaves_its_arguments_alone(target, patch):
    from copy import deepcopy

    kept = deepcopy((target, patch))
    once = merged(target, patch)
    assert merged(once, patch) == once
    assert (target, patch) == kept
