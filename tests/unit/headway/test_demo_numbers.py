"""The demo's own bookkeeping: what is lost is never counted as anything else."""

from hypothesis import given
from hypothesis import strategies as st

from headway.demo import work
from headway.demo.tally import DemoTally, percentile


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_what_is_neither_done_nor_given_up_is_lost(done, given_up, lost):
    tally = DemoTally()
    count = tally.counts["fax"]
    count.sent, count.done, count.dead_lettered = done + given_up + lost, done, given_up
    assert tally.summary()["lost"] == tally.lost == lost
    assert tally.well is (lost == 0)


def test_something_wrong_is_not_well_even_if_nothing_is_lost():
    tally = DemoTally()
    tally.wrong.append("an agent is not free")
    assert not tally.well


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values, share):
    assert percentile(values, share) in values
    assert percentile(values, 1) == max(values)


def test_every_job_has_a_place_of_its_own_and_one_fax_of_each_tenant_cannot_be_dialled():
    jobs = [*work.faxes(5), *work.recordings(3)]
    assert len({(job.tenant, job.service, job.id) for job in jobs}) == len(jobs) == 4 * 8
    assert [job.tenant for job in jobs if job.hopeless] == list(work.TENANTS)


def test_one_caller_of_each_tenant_gives_up():
    callers = work.callers(6)
    assert [caller.tenant for caller in callers if caller.gives_up] == list(work.TENANTS)
