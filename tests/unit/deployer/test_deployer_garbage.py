"""What can go of retired versions, and what never may."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.control.records import RolloutRecord, VersionRecord
from headway.deployer.garbage import KEEP, LINGER, ORPHANED_FOR, SPARE, Garbage, Remains, garbage


def version(label: str, phase: str = "retired", weight: int = 0) -> VersionRecord:
    return VersionRecord(service="fax", version=label, app="a:b", root="/", phase=phase, weight=weight)


def remains(count: int, **changes) -> Remains:
    """So many retired versions, the oldest first, all with empty consumers, and one that is live."""
    versions = {f"v{n}": version(f"v{n}") for n in range(count)} | {"new": version("new", "live", 100)}
    usual = Remains(versions, alive={"new": 1}, left=dict.fromkeys(versions, 0), routed={"new"})
    return replace(usual, **changes)


def test_a_thousand_releases_in_a_row_leave_as_much_as_the_last_few():
    versions, consumers, images = {}, {}, set()
    for n in range(1000):
        label, before = f"v{n}", f"v{n - 1}" if n else None
        if before:
            versions.pop(before)
            versions[before] = version(before)
        versions[label] = version(label, "live", 100)
        consumers[label] = 0
        images.add(label)
        rollout = RolloutRecord(service="fax", version=label, before=before, phase="done")
        found = garbage(Remains(dict(versions), rollout, {label: 2}, dict(consumers), {label}))
        for gone in found.consumers:
            del consumers[gone]
        for gone in found.records:
            del versions[gone]
            images.discard(gone)
        assert len(consumers) <= SPARE + 2
        assert len(versions) <= KEEP + 2
    assert set(versions) == images == {f"v{n}" for n in range(1000 - KEEP - 2, 1000)}


def test_consumers_stay_while_they_hold_a_message_and_so_do_the_records():
    some = remains(20)
    found = garbage(replace(some, left={**some.left, "v0": 1}))
    assert "v0" not in found.consumers
    assert "v0" not in found.records
    assert "v1" in found.records


@pytest.mark.parametrize(
    "changes",
    [{"alive": None}, {"left": None}, {"routed": None}],
    ids=["workers", "consumers", "routes"],
)
def test_what_is_unknown_counts_as_in_use(changes):
    assert garbage(remains(20, **changes)) == Garbage()


def test_a_version_that_has_workers_traffic_or_a_part_in_the_rollout_stays_whole():
    some = remains(20)
    rollout = RolloutRecord(service="fax", version="v0", before="v1", phase="rolled-back")
    found = garbage(replace(some, rollout=rollout, alive={"v2": 1}, routed={"new", "v3"}))
    for label in ("v0", "v1", "v2", "v3", "new"):
        assert label not in found.consumers
        assert label not in found.records


def test_the_last_retired_ones_keep_their_consumers_for_a_while():
    some = remains(5)
    assert set(garbage(some).consumers) == {"v0", "v1", "v2"}
    assert set(garbage(replace(some, retired_for={"v4": LINGER})).consumers) == {"v0", "v1", "v2", "v4"}


def test_the_consumer_of_an_event_that_no_deployed_version_handles_is_told_first_and_goes_later():
    some = remains(0, handled={"order.placed"}, events={"order.placed": 3, "order.gone": 7})
    assert garbage(some).orphans == ("order.gone",)
    assert garbage(some).events == {}
    later = replace(some, orphaned_for={"order.gone": ORPHANED_FOR})
    assert garbage(later).events == {"order.gone": 7}


def test_as_long_as_one_deployed_version_cannot_be_asked_no_consumer_is_an_orphan():
    assert garbage(remains(0, handled=None, events={"order.gone": 7})).orphans == ()


@given(
    phases=st.lists(st.sampled_from(["live", "draining", "retired"]), max_size=30),
    left=st.dictionaries(st.integers(0, 29), st.integers(0, 2)),
    alive=st.sets(st.integers(0, 29)),
    keep=st.integers(0, 5),
    spare=st.integers(0, 5),
)
def test_nothing_that_is_live_or_holds_a_message_ever_goes(phases, left, alive, keep, spare):
    versions = {f"v{n}": version(f"v{n}", phase) for n, phase in enumerate(phases)}
    held = {f"v{n}": count for n, count in left.items()}
    living = {f"v{n}": 1 for n in alive}
    found = garbage(Remains(versions, None, living, held, set()), keep=keep, spare=spare)
    for label in (*found.consumers, *found.records):
        assert versions[label].phase == "retired"
        assert not held.get(label)
        assert label not in living
    assert not {*found.records} & ({*held} - {*found.consumers})
