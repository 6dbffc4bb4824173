"""What the deployer tells OpenTelemetry of a round."""

from __future__ import annotations

from headway.control.records import RolloutRecord, VersionRecord
from headway.deployer.metrics import values


def version(name: str, **changed) -> VersionRecord:
    return VersionRecord(service="fax", version=name, app="app:fax", root="", **changed)


def test_versions_have_their_share_and_retired_ones_are_left_out():
    versions = [version("v1", phase="retired"), version("v2", weight=75), version("v3", weight=25), version("v4")]
    told = values(versions, [])["headway.version.weight"]
    assert {one.attributes["headway.version"]: one.value for one in told} == {"v2": 75, "v3": 25, "v4": 0}


def test_of_each_service_the_phase_of_the_last_release_is_told():
    rollouts = [RolloutRecord(service="fax", version="v3", before="v2", phase="judge")]
    [told] = values([], rollouts)["headway.rollout.phase"]
    assert (told.value, told.attributes) == (
        1,
        {"headway.service": "fax", "headway.version": "v3", "headway.phase": "judge"},
    )
