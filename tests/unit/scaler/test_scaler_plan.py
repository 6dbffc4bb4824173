"""plan(): replacement first, the emptiest and youngest go first, nobody is killed who ends by himself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.scaler.plan import Plan, WorkerState, plan


def names(actions):
    return [worker for worker, _ in actions]


def test_missing_workers_are_started_unless_the_version_backs_off():
    assert plan(3, [WorkerState("a", 0)], 10, grace=30) == Plan(start=2)
    assert plan(3, [WorkerState("a", 0)], 10, grace=30, may_start=False) == Plan()


def test_those_that_start_count():
    assert plan(2, [WorkerState("a", 0), WorkerState("b", 9, serving=False)], 10, grace=30) == Plan()


def test_of_too_many_the_one_not_serving_goes_first_then_the_emptiest_then_the_youngest():
    members = [
        WorkerState("old", 1),
        WorkerState("young", 5),
        WorkerState("busy", 9, in_hand=4),
        WorkerState("new", 9, serving=False),
    ]
    assert names(plan(3, members, 10, grace=30).drain) == ["new"]
    assert names(plan(2, members, 10, grace=30).drain) == ["new", "young"]
    assert names(plan(1, members, 10, grace=30).drain) == ["new", "young", "old"]


def test_a_sick_worker_is_replaced_first_and_drained_then():
    sick = WorkerState("sick", 0, sick="its health check fails", sick_since=10)
    assert plan(1, [sick], 10, grace=30) == Plan(start=1)
    assert plan(1, [sick, WorkerState("new", 10, serving=False)], 11, grace=30) == Plan()
    done = plan(1, [sick, WorkerState("new", 10)], 12, grace=30)
    assert done.drain == (("sick", "its health check fails"),)


def test_a_silent_worker_goes_after_a_while_although_it_cannot_be_replaced_and_others_do_what_they_can():
    silent, ill = (WorkerState("sick", 0, sick="sick", sick_since=10, silent=silent) for silent in (True, False))
    assert plan(1, [silent], 19, grace=30, may_start=False) == Plan()
    assert names(plan(1, [silent], 20, grace=30, may_start=False).drain) == ["sick"]
    assert plan(1, [ill], 1000, grace=30, may_start=False) == Plan()


def test_one_that_is_only_too_large_goes_when_it_has_nothing_in_hand_or_has_not_for_long():
    large = {"sick": "it uses 600 MB of 500 MB", "sick_since": 10, "can_wait": True}
    busy, idle, new = WorkerState("w", 0, in_hand=1, **large), WorkerState("w", 0, **large), WorkerState("new", 10)
    assert plan(1, [busy], 10, grace=30) == Plan(start=1)
    assert plan(1, [busy, new], 39, grace=30) == Plan()
    assert names(plan(1, [busy, new], 40, grace=30).drain) == ["w"]
    assert names(plan(1, [idle, new], 11, grace=30).drain) == ["w"]


def test_one_that_can_wait_holds_up_no_other():
    large = WorkerState("large", 0, in_hand=1, sick="too large", sick_since=10, can_wait=True)
    ill = WorkerState("ill", 0, sick="its health check fails", sick_since=10)
    assert names(plan(1, [large, ill, WorkerState("new", 10)], 11, grace=30).drain) == ["ill"]


def test_one_that_does_not_end_is_killed_after_its_grace_and_a_silent_one_soon():
    slow = WorkerState("slow", 0, draining_since=10)
    assert plan(0, [slow], 44, grace=30).kill == ()
    assert names(plan(0, [slow], 45, grace=30).kill) == ["slow"]
    stuck = WorkerState("stuck", 0, sick="no heartbeat", sick_since=8, silent=True, draining_since=10)
    assert plan(0, [stuck], 11.9, grace=30).kill == ()
    assert names(plan(0, [stuck], 12, grace=30).kill) == ["stuck"]


def test_one_that_says_how_long_its_jobs_may_take_has_that_long():
    slow = WorkerState("slow", 0, draining_since=10, grace=300)
    assert plan(0, [slow], 314, grace=30).kill == ()
    assert names(plan(0, [slow], 315, grace=30).kill) == ["slow"]


def test_one_that_falls_silent_while_it_drains_has_a_moment_before_it_is_killed():
    late = WorkerState("late", 0, sick="no heartbeat", sick_since=20, silent=True, draining_since=10)
    assert plan(0, [late], 21.9, grace=30).kill == ()
    assert names(plan(0, [late], 22, grace=30).kill) == ["late"]


def test_how_long_one_has_been_sick_counts_from_when_that_was_found_and_not_at_all_if_it_is_not_known():
    silent = WorkerState("sick", 0, sick="sick", silent=True)
    assert plan(1, [silent], 1000, grace=30, may_start=False) == Plan()
    large = WorkerState("large", 0, sick="too large", can_wait=True, in_hand=1)
    assert plan(1, [large, WorkerState("new", 10)], 1000, grace=30) == Plan()


def test_the_reasons_are_told():
    assert plan(0, [WorkerState("a", 0)], 10, grace=30).drain == (("a", "0 are enough"),)
    slow = WorkerState("slow", 0, draining_since=10, grace=0.5)
    assert plan(0, [slow], 16, grace=30).kill == (("slow", "did not end 5.5 s after it was told to"),)


def test_a_silent_one_of_which_it_is_not_known_since_when_has_its_whole_grace():
    stuck = WorkerState("stuck", 0, sick="no heartbeat", silent=True, draining_since=10)
    assert plan(0, [stuck], 44, grace=30).kill == ()
    assert names(plan(0, [stuck], 45, grace=30).kill) == ["stuck"]


def test_the_retired_are_all_drained():
    assert names(plan(0, [WorkerState("a", 0), WorkerState("b", 1)], 10, grace=30).drain) == ["b", "a"]


members = st.lists(
    st.builds(
        WorkerState,
        worker=st.uuids().map(str),
        started=st.floats(0, 100),
        serving=st.booleans(),
        in_hand=st.integers(0, 3),
        sick=st.none() | st.just("sick"),
        sick_since=st.floats(0, 100),
        silent=st.booleans(),
        can_wait=st.booleans(),
        draining_since=st.none() | st.floats(0, 100),
    ),
    max_size=12,
)


@given(st.integers(0, 10), members)
def test_what_is_well_is_never_fewer_than_desired_by_our_doing(desired, everyone):
    result = plan(desired, everyone, 100, grace=30)
    well = {m.worker for m in everyone if m.sick is None and m.draining_since is None}
    left = well - set(names(result.drain))
    assert len(left) + result.start >= desired
    assert len(left) >= min(desired, len(well))
    assert not set(names(result.kill)) & well
