"""Who is sidelined: those who make others wait, nobody else, and as long as they do."""

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.wire.subjects import COMMON, LANES
from headway.bus.worker.backlog import by_lane
from headway.bus.worker.sideline import FEW, FEWEST, MOST, TIMES, Sidelined, decide, few

tenants = st.sampled_from([f"t{n}" for n in range(30)])
lanes_of_tenants = st.dictionaries(tenants, st.tuples(st.integers(0, COMMON - 1), st.integers(1, 100_000)))


def queued(jobs):
    """Each tenant has one common lane, as the server's hash decides."""
    found = {}
    for tenant, (lane, count) in jobs.items():
        found.setdefault(lane, {})[tenant] = count
    return found


def one(home=3, lane=COMMON):
    return Sidelined(home, lane, 0.0, "")


@given(st.integers(0, COMMON - 1), st.integers(1, 1_000_000))
def test_a_tenant_that_is_alone_in_its_lane_is_never_sidelined(lane, count):
    assert decide({lane: {"alone": count}}, {lane: {"alone"}}, {}, FEW, 0.0) == {}


@given(st.integers(0, COMMON - 1), st.integers(FEW + 1, 1_000_000))
def test_a_tenant_that_makes_another_one_wait_is_sidelined(lane, count):
    assert set(decide({lane: {"loud": count, "quiet": 1}}, {}, {}, FEW, 7.0)) <= {"loud"}
    found = decide({lane: {"loud": max(count, FEW + TIMES), "quiet": 1}}, {}, {}, FEW, 7.0)["loud"]
    assert (found.home, found.since) == (lane, 7.0)
    assert COMMON <= found.lane < LANES
    assert "another tenant of the lane has 1" in found.why


def test_a_tenant_whose_neighbour_was_there_lately_is_sidelined_before_the_neighbour_comes_again():
    assert "loud" in decide({3: {"loud": FEW + 1}}, {3: {"quiet"}}, {}, FEW, 0.0)


@given(st.integers(1, 100_000), st.integers(2, 20))
def test_tenants_with_similar_backlogs_leave_each_other_in_peace(count, others):
    lane = {f"t{n}": count + n * count // others for n in range(others)}
    assert decide({0: lane}, {0: set(lane)}, {}, FEW, 0.0) == {}


def test_several_tenants_that_flood_one_lane_are_all_sidelined_each_to_its_own_lane():
    loud = {f"loud-{n}": 60_000 for n in range(LANES - COMMON)}
    found = decide({0: {**loud, "quiet": 2}}, {}, {}, FEW, 0.0)
    assert found.keys() == loud.keys()
    assert len({one.lane for one in found.values()}) == len(loud)


@given(lanes_of_tenants, st.dictionaries(tenants, st.builds(one, home=st.integers(0, COMMON - 1))))
def test_their_number_is_bounded_and_who_has_jobs_in_another_lane_stays(jobs, before):
    counts = queued(jobs)
    for tenant, known in before.items():
        counts.setdefault(known.lane, {})[tenant] = 1
    found = decide(counts, {}, before, FEW, 1.0)
    assert len(found) <= MOST
    assert before.items() <= found.items()


@given(lanes_of_tenants)
def test_the_same_view_leads_to_the_same_decision(jobs):
    first = decide(queued(jobs), {}, {}, FEW, 0.0)
    again = decide(queued(dict(reversed(jobs.items()))), {}, {}, FEW, 0.0)
    assert first == again


@given(lanes_of_tenants)
def test_who_was_sidelined_stays_so_while_nothing_changes(jobs):
    counts = queued(jobs)
    first = decide(counts, {}, {}, FEW, 0.0)
    assert first.items() <= decide(counts, {}, first, FEW, 1.0).items()


def test_it_ends_when_the_moved_jobs_are_done_and_few_are_left():
    before = {"loud": one()}
    assert decide({3: {"loud": FEW}, COMMON: {"loud": 1}}, {}, before, FEW, 1.0) == before
    assert decide({3: {"loud": FEW + 1, "quiet": 1}}, {}, before, FEW, 1.0) == before
    assert decide({3: {"loud": FEW, "quiet": 1}}, {3: {"quiet"}}, before, FEW, 1.0) == {}


def test_a_tenant_that_is_sidelined_does_not_make_its_neighbours_look_loud():
    """Its jobs have left the lane, so it has the fewest there."""
    lane = {f"t{n}": 500 for n in range(5)}
    assert set(decide({3: {**lane, "loud": 1}, COMMON: {"loud": 9}}, {}, {"loud": one()}, FEW, 1.0)) == {"loud"}


def test_the_lane_of_a_tenant_is_where_its_jobs_are_already():
    counts = {3: {"loud": 5_000, "quiet": 1}, COMMON + 5: {"loud": 9}}
    assert decide(counts, {}, {}, FEW, 0.0)["loud"].lane == COMMON + 5


def test_the_longer_jobs_take_the_fewer_are_many():
    assert few(0.0, 64) == few(0.005, 64) == FEW
    assert few(0.1, 16) == 80
    assert few(60.0, 16) == FEWEST


def test_counts_of_subjects_are_added_up_by_lane_and_tenant():
    found = by_lane({"job.fax.v1.3.acme.send": 2, "job.fax.v1.3.acme.fetch": 3, "job.fax.v1.x.acme.send": 9})
    assert {lane: jobs for lane, jobs in found.items() if jobs} == {3: {"acme": 5}}
