"""The plan of a chaos run: what fails, when, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.zones.plan import GAP, KINDS, LONGEST, RECOVERY, SHORTEST, plan

SEEDS = st.integers(0, 1 << 32)


@given(SEEDS, st.floats(0, 2000))
def test_the_same_seed_gives_the_same_plan(seed, seconds):
    assert plan(seed, seconds) == plan(seed, seconds)


@given(SEEDS, st.floats(0, 2000))
def test_each_kind_comes_before_any_comes_again(seed, seconds):
    kinds = [fault.kind for fault in plan(seed, seconds)]
    assert len(kinds) >= len(KINDS)
    for start in range(0, len(kinds), len(KINDS)):
        cycle = kinds[start : start + len(KINDS)]
        assert len(set(cycle)) == len(cycle)


@given(SEEDS, st.floats(300, 2000))
def test_it_takes_about_as_long_as_it_is_told_to(seed, seconds):
    faults = plan(seed, seconds)
    taken = sum(fault.gap + fault.seconds + RECOVERY for fault in faults)
    assert seconds <= taken <= seconds + LONGEST + 2 * GAP + RECOVERY


@given(SEEDS)
def test_a_split_has_two_zones_and_what_is_away_comes_back(seed):
    for fault in plan(seed, 300):
        assert fault.zone != fault.other
        assert fault.seconds == 0 if fault.kind.startswith("kill-") else SHORTEST <= fault.seconds <= LONGEST


@given(SEEDS)
def test_what_cannot_be_done_here_is_not_planned(seed):
    assert {fault.kind for fault in plan(seed, 100, ["kill", "kill-web"])} == {"kill", "kill-web"}
