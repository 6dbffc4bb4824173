"""The judge: what it lets pass, what it stops, and that it decides nothing without data."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from headway.bus.telemetry.histogram import BUCKETS
from headway.control.records import Criteria
from headway.deployer.evidence import Checked, Count, Evidence, Side, Slice
from headway.deployer.exact import Stratum, looks, rank_above, rank_below, split, worse
from headway.deployer.judge import DOUBTFUL, at_least, at_most, judge

V1, V2 = Side("v1"), Side("v2")
STEPS = 4
# As with examples of properties: few of them while one works, all of them in CI.
RUNS = 1_000 if os.environ.get("CI") == "true" else 200

counts = st.builds(
    lambda tries, share: Count(tries=tries, errors=int(tries * share), latency={"rpc": histogram([0.002] * tries)}),
    st.integers(0, 300),
    st.floats(0, 1),
)
slices = st.lists(st.builds(Slice, counts, counts), max_size=12)


def histogram(seconds) -> list[int]:
    found = [0] * (len(BUCKETS) + 1)
    for value in seconds:
        found[bisect_left(BUCKETS, value)] += 1
    return found


def histograms(rng, tries, median: float) -> list[list[int]]:
    """Of log-normal latencies: what services have."""
    below = np.append(ndtr(np.log(np.array(BUCKETS) / median) / 0.7), 1.0)
    return rng.multinomial(tries, np.diff(below, prepend=0.0)).tolist()


def step(rng, share: float, errors: tuple[float, float], requests: int, seconds: int, latency=(None, None)):
    """What a step looks like in which the canary gets so many requests, and the baseline the rest of the traffic."""
    sides = []
    for rate, size, middle in zip(errors, (requests, requests * (1 - share) / share), latency, strict=True):
        tries = rng.multinomial(int(size), [1 / seconds] * seconds)
        failed = rng.binomial(tries, rate)
        spread = [{}] * seconds if middle is None else [{"rpc": h} for h in histograms(rng, tries, middle)]
        made = zip(tries.tolist(), failed.tolist(), spread, strict=True)
        sides.append([Count(tries=n, errors=e, latency=h) for n, e, h in made])
    return [Slice(canary, baseline) for canary, baseline in zip(*sides, strict=True)]


def judged(slices, canary=V2, baseline: Side | None = V1, checks=(), criteria=None):
    return judge(Evidence(canary, baseline, slices, checks), criteria or Criteria(), STEPS)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3])
def test_an_equal_canary_is_aborted_in_less_than_one_of_a_hundred_rollouts(rate):
    rng = np.random.default_rng(4)
    aborted = 0
    for _ in range(RUNS // 4):
        sizes = ((0.05, 500), (0.25, 2_000), (0.5, 4_000), (0.5, 4_000))
        rollout = [step(rng, share, (rate, rate), requests, 20, (0.02, 0.02)) for share, requests in sizes]
        aborted += any(judged(one).outcome == "fail" for one in rollout)
    assert aborted < 0.01 * RUNS / 3


def test_an_equal_canary_is_not_aborted_by_an_outage_that_both_have():
    rng = np.random.default_rng(5)
    aborted = 0
    for _ in range(300):
        calm = step(rng, 0.25, (0.01, 0.01), 1_000, 10)
        outage = step(rng, 0.5, (0.6, 0.6), 1_000, 10)
        aborted += judged([*calm, *outage]).outcome == "fail"
    assert aborted < 3


@pytest.mark.parametrize(
    ("share", "rate"),
    [
        (0.05, 0.0),
        (0.05, 0.01),
        (0.05, 0.03),
        (0.25, 0.01),
        (0.25, 0.02),
        (0.5, 0.0),
        (0.5, 0.005),
        (0.5, 0.01),
    ],
)
def test_five_points_more_errors_are_caught_within_a_thousand_requests(share, rate):
    rng = np.random.default_rng(6)
    caught = sum(judged(step(rng, share, (rate + 0.05, rate), 1_000, 20)).outcome == "fail" for _ in range(RUNS))
    assert caught > 0.99 * RUNS


def test_a_canary_that_takes_five_times_as_long_is_caught_and_an_equally_slow_one_is_not():
    rng = np.random.default_rng(7)
    slow = [judged(step(rng, 0.25, (0, 0), 1_000, 10, (0.1, 0.02))) for _ in range(100)]
    assert all(verdict.outcome == "fail" for verdict in slow)
    assert "95% of calls take up to" in slow[0].reasons[0]
    same = [judged(step(rng, 0.25, (0, 0), 1_000, 10, (0.1, 0.1))) for _ in range(300)]
    assert sum(verdict.outcome == "fail" for verdict in same) < 3


@given(slices, st.sampled_from([Criteria(), Criteria(requests=1)]))
def test_it_never_passes_on_too_few_requests_of_either_side(made, criteria):
    verdict = judged(made, criteria=criteria)
    least = min(sum(s.canary.tries for s in made), sum(s.baseline.tries for s in made))
    if least < criteria.requests:
        assert verdict.outcome != "pass"
        if verdict.outcome == "waiting":
            assert f"{sum(s.canary.tries for s in made):,} requests" in verdict.reasons[0]
    elif verdict.outcome == "waiting":
        ours, theirs = sum(s.canary.errors for s in made), sum(s.baseline.errors for s in made)
        assert ours / sum(s.canary.tries for s in made) > theirs / sum(s.baseline.tries for s in made), "no doubt"
        assert least < DOUBTFUL
    assert verdict.reasons


@given(slices, slices)
def test_what_has_failed_does_not_become_good_by_what_comes_after(before, after):
    if judged(before).outcome == "fail":
        assert judged([*before, *after]).outcome == "fail"


@given(slices)
def test_it_does_not_matter_who_asks_or_how_often(made):
    assert judged(made) == judged(made)


@given(st.lists(st.integers(0, 100_000), max_size=40), st.floats(0.0001, 0.2))
def test_all_looks_together_spend_no_more_than_the_budget(growth, budget):
    sizes = np.cumsum(growth).tolist()
    assert sum(looks(sizes, budget)) <= budget * (1 + 1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400), st.integers(1, 400))
def test_one_stratum_is_judged_as_by_fishers_exact_test(hits, others, more, rest):
    from scipy.stats import fisher_exact  # a second to import, which no other test has to wait for

    stratum = Stratum(900 + more + hits, hits, 900 + rest + others, others)
    look = worse([stratum], 1.0)
    expected = fisher_exact(
        [[hits, stratum.canary - hits], [others, stratum.baseline - others]], alternative="greater"
    ).pvalue
    allowed = sum(looks([min(stratum.canary, stratum.baseline)], 1.0))
    higher = hits / stratum.canary > others / stratum.baseline
    if look is None:
        assert not higher or expected >= allowed * 0.999
    else:
        assert look.p == pytest.approx(expected, rel=1e-6)


def chances(total, share) -> list[float]:
    """The binomial distribution, by its definition."""
    return [math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(total + 1)]


@given(st.integers(1, 80), st.floats(0.01, 0.99), st.floats(1e-6, 0.5))
def test_ranks_are_those_of_the_binomial_distribution(total, share, alpha):
    below = list(accumulate(chances(total, share)))
    above = [1 - p for p in below]
    rank = rank_below(total, share, alpha)
    assert below[rank] >= alpha * (1 - 1e-6) and (rank == 0 or below[rank - 1] <= alpha * (1 + 1e-6))
    rank = rank_above(total, share, alpha)
    assert above[rank] <= alpha + 1e-9 and (rank == 0 or above[rank - 1] >= alpha - 1e-9)


@given(st.integers(1, 80), st.integers(0, 80), st.floats(0.0, 1.0))
def test_a_split_is_as_probable_as_the_binomial_distribution_says(total, count, share):
    count = min(count, total)
    found = chances(total, share)
    side = min(sum(found[: count + 1]), sum(found[count:]))
    assert split(count, total, share) == pytest.approx(min(1.0, 2 * side), rel=1e-6, abs=1e-12)


def test_thousands_of_errors_are_judged_as_well():
    rng = np.random.default_rng(8)
    same = [judged(step(rng, 0.5, (0.3, 0.3), 20_000, 30)).outcome for _ in range(200)]
    assert same.count("fail") < 3
    assert judged(step(rng, 0.5, (0.33, 0.3), 20_000, 30)).outcome == "fail"


@given(st.lists(st.floats(0.0002, 60), min_size=1, max_size=300))
def test_the_bounds_of_a_percentile_hold_what_they_bound(samples):
    found = histogram(samples)
    low, high = at_least(found, 0.05), at_most(found, 0.05)
    if low is not None and high is not None:
        assert low <= np.quantile(samples, 0.95, method="inverted_cdf") <= high


def test_a_percentile_is_below_its_bound_as_seldom_as_promised():
    rng = np.random.default_rng(9)
    truth = 0.02 * np.exp(0.7 * 1.6449)
    bounds = [(at_least(h, 0.05), at_most(h, 0.05)) for h in histograms(rng, [200] * 500, 0.02)]
    assert sum(low is not None and low > truth for low, _ in bounds) <= 25 + 15
    assert sum(high is not None and high < truth for _, high in bounds) <= 25 + 15


def test_a_crash_loop_and_a_failing_check_decide_at_once():
    looping = Side("v2", health="crash-loop", deaths=5, last_exit="exit code 1")
    verdict = judged([], canary=looping)
    assert verdict.outcome == "fail"
    assert verdict.reasons == ("v2 is in a crash loop: 5 workers died, the last one with exit code 1",)
    assert judged([], canary=Side("v2", deaths=3)).outcome == "fail"
    assert judged([], canary=Side("v2", deaths=3), baseline=Side("v1", deaths=2)).outcome == "waiting"
    checked = judged([], checks=[Checked("fax.status", ok=False, said="answered 'failed', not 'sent'")])
    assert checked.outcome == "fail"
    assert "check fax.status: answered 'failed', not 'sent'" in checked.reasons


def test_dead_letters_refusals_and_saturation_are_seen():
    calm = Count(tries=500, seconds=20, cpu_s=4, lags=[0.001] * 20)
    for worse_, word in (
        (Count(tries=500, dead=40), "were given up"),
        (Count(tries=500, shed=80), "were refused under load"),
        (Count(tries=500, lags=[0.4] * 20), "event loops of v2 run 400 ms late"),
        (Count(tries=500, seconds=20, cpu_s=19.5), "use 98% of a core"),
    ):
        verdict = judged([Slice(worse_, calm), Slice(worse_, calm)])
        assert verdict.outcome == "fail"
        assert word in verdict.reasons[0]


def test_a_verdict_tells_the_numbers_it_was_decided_by():
    rng = np.random.default_rng(10)
    good = judged(step(rng, 0.5, (0.01, 0.01), 1_000, 10))
    assert good.outcome == "pass"
    assert "of 1,000 failed at v2" in good.reasons[0]
    bad = judged(step(rng, 0.5, (0.3, 0.01), 1_000, 10))
    assert bad.outcome == "fail"
    assert "at v2 (" in bad.reasons[0] and "at v1 (" in bad.reasons[0] and "is allowed" in bad.reasons[0]


def test_a_canary_that_looks_worse_is_not_promoted_until_more_requests_have_told():
    worse_ = [Slice(Count(tries=21, errors=7), Count(tries=100, errors=8))] * 2
    verdict = judged(worse_, criteria=Criteria(requests=40))
    assert verdict.outcome == "waiting"
    assert verdict.reasons[-1] == "that may be chance or not: more requests will tell"
    assert "14 of 42 failed at v2 (33.3%)" in verdict.reasons[0]
    lucky = [Slice(Count(tries=21, errors=2), Count(tries=100, errors=8))] * 2
    assert judged(lucky, criteria=Criteria(requests=40)).outcome == "pass"


def test_without_a_baseline_it_says_so():
    verdict = judged([], baseline=None)
    assert verdict.outcome == "pass"
    assert "no other version has traffic" in verdict.reasons[0]


def test_a_verdict_carries_what_was_measured_of_both_sides_with_bounds():
    rng = np.random.default_rng(3)
    found = judged(step(rng, 0.5, (0.02, 0.01), 2_000, 20, latency=(0.02, 0.01)))
    canary, baseline = found.measured
    assert (canary.version, baseline.version) == ("v2", "v1")
    assert canary.tries == 2_000
    assert 0 < canary.errors < 200
    for side in found.measured:
        (p95,) = side.p95
        assert p95.kind == "rpc"
        assert p95.low <= p95.at <= p95.high
    assert canary.p95[0].at > baseline.p95[0].at


def test_without_a_baseline_the_canary_alone_was_measured_and_without_requests_nothing():
    (alone,) = judged([], baseline=None).measured
    assert (alone.version, alone.tries, alone.p95) == ("v2", 0, ())
