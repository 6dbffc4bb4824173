"""The e-processes: what they are worth under equal versions, at the margin, and against what is known by other ways."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.telemetry.histogram import BUCKETS
from headway.deployer.analysis import margin as margins
from headway.deployer.analysis.binomial import rank_above, rank_below, split
from headway.deployer.analysis.bound import Above, bound_of, exceeded
from headway.deployer.analysis.failures import Failures
from headway.deployer.analysis.latency import Slower, edge
from headway.deployer.analysis.look import PlannedLook, chance
from headway.deployer.analysis.margin import MarginProof, NotWorse, nearest, points_factor
from headway.deployer.analysis.urn import Stratum, log_mean, log_moments, log_sum, urn
from headway.deployer.analysis.worse import Worse

sizes = st.integers(1, 30)


def mean_over_urn(canary: int, baseline: int, hits: int, value) -> float:
    """The mean of e^value over how the hits fall if both versions are equal."""
    low, logs = urn(canary, baseline, hits)
    return sum(math.exp(log + value(low + i)) for i, log in enumerate(logs.tolist()))


@given(sizes, sizes, st.data())
def test_the_urn_is_the_hypergeometric_distribution(canary, baseline, data):
    hits = data.draw(st.integers(0, canary + baseline))
    low, logs = urn(canary, baseline, hits)
    total = math.comb(canary + baseline, hits)
    for k, log in enumerate(logs.tolist(), low):
        assert math.exp(log) == pytest.approx(math.comb(canary, k) * math.comb(baseline, hits - k) / total)
    assert log_sum(logs.tolist()) == pytest.approx(0, abs=1e-9)


@given(sizes, sizes, st.data())
def test_evidence_against_an_equal_canary_has_mean_one_in_every_stratum(canary, baseline, data):
    hits = data.draw(st.integers(0, canary + baseline))

    def value(x: int) -> float:
        worse = Worse()
        worse.add(Stratum(canary, x, baseline, hits - x))
        return worse.log

    assert mean_over_urn(canary, baseline, hits, value) == pytest.approx(1, abs=1e-6)


@given(sizes, sizes, st.floats(1.05, 20), st.data())
def test_evidence_for_a_canary_has_at_most_mean_one_where_it_is_at_the_margin_of_the_odds(canary, baseline, odds, data):
    hits = data.draw(st.integers(1, canary + baseline - 1)) if canary + baseline > 1 else 1
    (norm,) = log_moments(canary, baseline, hits, (math.log(odds),)).tolist()

    def value(x: int) -> float:
        shown = NotWorse(MarginProof(odds, 0.005))
        shown.add(Stratum(canary, x, baseline, hits - x))
        ways = (math.log(0.8) + shown._equal, math.log(0.2) + shown._better)
        return log_sum(ways) + x * math.log(odds) - norm

    assert mean_over_urn(canary, baseline, hits, value) == pytest.approx(1, abs=1e-6)


@given(
    st.integers(1, 12),
    st.integers(0, 12),
    st.floats(0.001, 0.6),
    st.floats(0.005, 0.3),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_evidence_for_a_canary_has_at_most_mean_one_wherever_it_is_worse_by_more_than_the_points(
    canary, baseline, share, points, base, more
):
    theirs = base * (1 - points)
    ours = min(1.0, theirs + points + more * (1 - points - theirs))

    def chances(n: int, p: float) -> list[float]:
        return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]

    mean = sum(
        p * q * math.exp(points_factor(Stratum(canary, x, baseline, y), share, points))
        for x, p in enumerate(chances(canary, ours))
        for y, q in enumerate(chances(baseline, theirs))
    )
    assert mean <= 1 + 1e-4


@given(st.floats(0.001, 0.9), st.floats(0.005, 0.09), st.floats(0, 50))
def test_the_nearest_pair_is_nearer_than_its_neighbours(share, points, ratio):
    def far(y: float) -> float:
        return margins._divergence(share, y + points) + ratio * margins._divergence(share, y)

    at = nearest(share, points, ratio)
    assert max(0.0, share - points) <= at + 1e-9 <= share + 2e-9
    for other in (at * 0.99, at * 1.01):
        if 0 < other < 1 - points:
            assert far(at) <= far(other) + 1e-9


def test_no_failures_in_six_hundred_requests_show_that_fewer_than_half_a_percent_fail():
    shown = NotWorse(MarginProof())
    for _ in range(70):
        shown.add(Stratum(10, 0, 10, 0))
    assert shown.log > math.log(20)
    assert shown.needed(math.log(20)) == 0
    young = NotWorse(MarginProof())
    young.add(Stratum(10, 0, 10, 0))
    assert 500 < young.needed(math.log(20)) < 800


def test_a_margin_is_wider_the_fewer_users_the_next_step_has():
    assert MarginProof(1.5, 0.005).scaled(0.5) == MarginProof(2.0, 0.01)
    assert MarginProof(1.5, 0.005).scaled(1.0) == MarginProof(1.5, 0.005)


@given(st.lists(st.tuples(sizes, sizes, st.floats(0, 1), st.floats(0, 1)), max_size=8))
def test_evidence_goes_on_from_what_was_noted(parts):
    first, second = Failures(3, [MarginProof()]), Failures(3, [MarginProof()])
    strata = [Stratum(n, int(n * p), m, int(m * q)) for n, m, p, q in parts]
    for number, one in enumerate(strata):
        first.add(one)
        if number == len(strata) // 2:
            first.begin()
    second.restore(first.state())
    assert second.log(-1) == pytest.approx(first.log(-1), abs=0.01)
    assert second.total == first.total
    assert second.proofs[0].log == pytest.approx(first.proofs[0].log, abs=0.01)


def test_what_goes_wrong_late_is_found_though_much_went_well_before():
    worse = Worse(2)
    for _ in range(200):
        worse.add(Stratum(10, 0, 10, 1))
    before = worse.log
    worse.begin()
    for _ in range(15):
        worse.add(Stratum(10, 4, 10, 1))
    assert before < 0.0
    assert worse.log > math.log(20)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400), st.integers(1, 400))
def test_one_stratum_is_judged_as_by_fishers_exact_test(hits, others, more, rest):
    tries, all_hits, total = hits + more, hits + others, hits + more + others + rest
    ways = sum(
        math.comb(all_hits, at) * math.comb(total - all_hits, tries - at)
        for at in range(hits, min(tries, all_hits) + 1)
    )
    exact = ways / math.comb(total, tries)  # counted, so that nothing is rounded before the division
    assert chance([Stratum(tries, hits, rest + others, others)]) == pytest.approx(exact, rel=1e-6)


def test_thousands_of_hits_are_looked_at_as_well():
    even, more = Stratum(20_000, 6_000, 20_000, 6_000), Stratum(20_000, 6_600, 20_000, 6_000)
    assert chance([even]) == pytest.approx(0.5, abs=0.01)
    assert chance([more]) < 1e-6


def test_the_planned_look_is_taken_once_at_its_size_and_keeps_little_until_then():
    look = PlannedLook(size=900)
    for _ in range(89):
        look.add(Stratum(10, 1, 30, 3))
    assert look.p is None
    assert sum(map(len, look.state()["blocks"])) <= 65
    again = PlannedLook(size=900)
    again.restore(look.state())
    for one in (look, again):
        one.add(Stratum(10, 1, 30, 3))
        one.add(Stratum(10, 10, 30, 0))
    assert look.p == again.p
    assert 0.4 < look.p < 0.6, "what came after is not looked at"


def histogram(*seconds: float) -> np.ndarray:
    return np.bincount(np.searchsorted(BUCKETS, seconds), minlength=len(BUCKETS) + 1)


def test_latency_is_compared_at_the_bound_where_the_baseline_has_its_quantile():
    counts = histogram(*([0.01] * 95), *([0.2] * 5))
    assert BUCKETS[edge(counts, 0.95)] < 0.2
    assert BUCKETS[edge(counts, 0.95)] >= 0.01


@pytest.mark.parametrize(("factor", "slower"), [(1.0, False), (1.5, True)])
def test_a_slower_canary_is_found_and_an_equal_one_is_shown(factor, slower):
    rng = np.random.default_rng(5)
    series = Slower(1, [(1.25, 0.01)])
    for _ in range(80):
        series.add(histogram(*rng.lognormal(-3, 0.7, 20) * factor), histogram(*rng.lognormal(-3, 0.7, 20)))
    assert (series.log(1.25, 0.01) > math.log(100)) == slower
    assert (series.shown(0) > math.log(20)) != slower
    again = Slower(1, [(1.25, 0.01)])
    again.restore(series.state())
    assert again.shown(0) == pytest.approx(series.shown(0), abs=0.01)
    assert again.counts == series.counts


def test_ten_milliseconds_more_are_nothing_to_stop_a_release_for():
    rng = np.random.default_rng(6)
    series = Slower()
    for _ in range(100):
        series.add(histogram(*rng.lognormal(-6, 0.5, 50) * 2), histogram(*rng.lognormal(-6, 0.5, 50)))
    assert series.log(1.25, 0.01) == -math.inf


def test_a_version_with_nothing_beside_it_is_held_to_its_own_record():
    assert bound_of(Stratum(0, 0, 0, 0), 0.1) == 0.1
    assert bound_of(Stratum(1_000, 200, 1_000, 150), 0.1) == pytest.approx(1 / 3)
    assert bound_of(Stratum(10, 10, 10, 10), 0.1) == 0.1
    good, bad = Above(0.1), Above(0.1)
    for _ in range(600):
        good.add(50, 4)
    assert exceeded(good, "v2") is None
    good.add(0, 0)
    assert Above.restored(good.state()).log == pytest.approx(good.log, abs=0.01)
    for _ in range(600):
        bad.add(50, 1)
    for _ in range(3):
        bad.add(50, 40)
    assert "failed at v2 since it has all traffic" in exceeded(bad, "v2")


def chances_of(total, share) -> list[float]:
    """The binomial distribution, by its definition."""
    return [math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(total + 1)]


@given(st.integers(1, 80), st.floats(0.01, 0.99), st.floats(1e-6, 0.5))
def test_ranks_are_those_of_the_binomial_distribution(total, share, alpha):
    below = list(accumulate(chances_of(total, share)))
    above = [1 - p for p in below]
    rank = rank_below(total, share, alpha)
    assert below[rank] >= alpha * (1 - 1e-6)
    assert rank == 0 or below[rank - 1] <= alpha * (1 + 1e-6)
    rank = rank_above(total, share, alpha)
    assert above[rank] <= alpha + 1e-9
    assert rank == 0 or above[rank - 1] >= alpha - 1e-9


@given(st.integers(1, 80), st.integers(0, 80), st.floats(0.0, 1.0))
def test_a_split_is_as_probable_as_the_binomial_distribution_says(total, count, share):
    count = min(count, total)
    found = chances_of(total, share)
    side = min(sum(found[: count + 1]), sum(found[count:]))
    assert split(count, total, share) == pytest.approx(min(1.0, 2 * side), rel=1e-6, abs=1e-12)


def test_sums_of_logarithms_need_no_large_numbers():
    assert log_sum([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))
    assert log_sum([]) == -math.inf
    assert log_mean([-math.inf, 0.0]) == pytest.approx(-math.log(2))


def test_latency_that_has_changed_for_both_is_compared_where_it_is_now():
    rng = np.random.default_rng(7)
    series = Slower(1, [(1.25, 0.01)])
    for second in range(200):
        slow = 20 if second < 40 else 1  # a machine that was busy at first
        series.add(histogram(*rng.lognormal(-3, 0.7, 5) * slow), histogram(*rng.lognormal(-3, 0.7, 20) * slow))
    assert series.shown(0) > math.log(20)
