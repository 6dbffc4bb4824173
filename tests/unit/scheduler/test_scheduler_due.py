"""The jobs for later in their order: by time, and in turns among tenants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.scheduler.due import DueJobs


def taken(jobs: DueJobs, now: int, busy: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    found = []
    while (one := jobs.take(now, busy)) is not None:
        found.append(one)
    return found


def test_without_jobs_nothing_is_due():
    assert DueJobs().next_due() is None
    assert DueJobs().take(10**15) is None


def test_no_job_is_taken_before_its_time():
    jobs = DueJobs()
    jobs.add(1, 1000, "acme")
    assert jobs.next_due() == 1000
    assert jobs.take(999) is None
    assert jobs.take(1000) == (1, "acme")
    assert (len(jobs), jobs.next_due()) == (0, None)


def test_a_tenant_with_many_due_jobs_holds_up_no_other():
    jobs = DueJobs()
    for seq in range(1, 1001):
        jobs.add(seq, 0, "big")
    jobs.add(1001, 10, "small")
    order = taken(jobs, 10)
    assert order.index((1001, "small")) <= 1
    assert len(order) == 1001


def test_a_busy_tenant_is_skipped_and_keeps_its_jobs():
    jobs = DueJobs()
    jobs.add(1, 0, "acme")
    jobs.add(2, 0, "globex")
    assert taken(jobs, 5, frozenset({"acme"})) == [(2, "globex")]
    assert jobs.next_due() == 0
    assert taken(jobs, 5) == [(1, "acme")]


def test_a_clock_that_is_set_back_holds_jobs_back_again():
    jobs = DueJobs()
    jobs.add(1, 100, "acme")
    jobs.add(2, 100, "acme")
    assert jobs.take(100) == (1, "acme")
    assert jobs.take(50) is None
    assert jobs.next_due() == 100
    assert jobs.take(100) == (2, "acme")


@given(
    added=st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc")), max_size=40),
    moments=st.lists(st.tuples(st.integers(0, 60), st.frozensets(st.sampled_from("abc"))), max_size=20),
)
def test_each_job_comes_once_never_early_and_by_time_within_its_tenant(added, moments):
    jobs = DueJobs()
    left = dict(enumerate(added))
    for seq, (due, tenant) in left.items():
        jobs.add(seq, due, tenant)
    for now, busy in [*moments, (60, frozenset())]:
        before = dict(left)
        for seq, tenant in taken(jobs, now, busy):
            due, owner = left.pop(seq)
            assert owner == tenant
            assert due <= now
            assert tenant not in busy
            assert not any(other < due for other, of in left.values() if of == tenant)
        assert not any(due <= now and tenant not in busy for due, tenant in left.values()), before
        assert len(jobs) == len(left)
        earliest = min((due for due, _ in left.values()), default=None)
        told = jobs.next_due()
        assert (told is None) == (earliest is None)
        assert told is None or told == 0 or told == earliest
    assert not left
