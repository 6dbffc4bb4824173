"""What the scaler tells OpenTelemetry of a round."""

from __future__ import annotations

from headway.control.tenants import SHOWN, Aside, TenantLoad
from headway.scaler.lag import ConsumerLag
from headway.scaler.metrics import VersionStatus, values
from headway.scaler.plan import WorkerState

LABELS = {"headway.service": "fax", "headway.version": "v1"}


def told(**changed) -> dict[str, float]:
    usual = {"desired": 3, "members": (), "starting": 0, "lanes": ()}
    found = values([VersionStatus("fax", "v1", **{**usual, **changed})])
    assert all(LABELS.items() <= one.attributes.items() for observations in found.values() for one in observations)
    return {
        f"{name.removeprefix('headway.')} {one.attributes.get('headway.state', '')}".rstrip(): one.value
        for name, observations in found.items()
        for one in observations
    }


def test_each_worker_is_counted_once_in_the_state_that_matters_most():
    members = (
        WorkerState("a", 1.0),
        WorkerState("b", 1.0, serving=False),
        WorkerState("c", 1.0, sick="silent"),
        WorkerState("d", 1.0, sick="silent", draining_since=2.0),
    )
    found = told(members=members, starting=2)
    assert {name: value for name, value in found.items() if name.startswith("workers ")} == {
        "workers starting": 3,
        "workers serving": 1,
        "workers sick": 1,
        "workers draining": 1,
    }
    assert found["workers.desired"] == 3


def test_a_queue_is_the_sum_of_its_lanes_and_as_old_as_the_oldest():
    lanes = (
        ConsumerLag(5, 1, 0, 9, 3, oldest_s=2.5),
        ConsumerLag(2, 0, 0, 4, 4),
        ConsumerLag(0, 3, 1, 7, 4, oldest_s=0.5),
    )
    found = told(lanes=lanes)
    assert (found["queue.waiting"], found["queue.unfinished"], found["queue.age"]) == (7, 4, 2.5)
    assert told()["queue.age"] == 0


def test_an_unknown_queue_is_not_told_to_be_empty():
    assert not [name for name in told(lanes=None) if name.startswith("queue.")]


def test_the_busiest_tenants_are_named_and_the_others_added_up():
    tenants = {f"t{n}": TenantLoad(busy=float(n), in_hand=1) for n in range(SHOWN + 10)}
    tenants["t3"].aside.append(Aside("fax", "v1", 1.0, "why"))
    tenants["t59"].aside.append(Aside("fax", "v1", 1.0, "why"))
    found = values([], tenants)
    busy = {one.attributes["headway.tenant"]: one.value for one in found["headway.tenant.busy"]}
    assert len(busy) == SHOWN + 1
    assert (busy["t59"], busy["others"]) == (59.0, sum(range(10)))
    assert {o.attributes["headway.tenant"] for o in found["headway.tenant.sidelined"] if o.value} == {"t59"}
