"""When a version is proven, and what an image is needed for: what the control records say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from headway.control.records import Past, RolloutRecord, VersionRecord
from headway.deployer.promote import objection
from headway.deployer.usage import needed_for

ONE, TWO = "1" * 64, "2" * 64


def control(rollout: RolloutRecord | None = None, **versions):
    """Control records with a rollout and versions of `app`: `v2=(digest, phase)`."""
    records = {
        ("app", name): VersionRecord(service="app", version=name, app="app:app", root="", image=digest, phase=phase)
        for name, (digest, phase) in versions.items()
    }
    return SimpleNamespace(versions=records, rollouts={} if rollout is None else {"app": rollout})


def past(version: str, before: str | None, outcome: str = "done", reason: str = "") -> Past:
    return Past(number=1, version=version, before=before, outcome=outcome, began=0, ended=0, reason=reason)


def rollout(version: str, before: str | None, phase: str = "done", *earlier: Past, **changed) -> RolloutRecord:
    return RolloutRecord(service="app", version=version, before=before, phase=phase, past=earlier, **changed)


FIRST = past("v1", None)
SECOND = past("v2", "v1")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rollout("v2", "v1"), None),
        (rollout("v2", "v1", "standby"), None),
        (rollout("v3", "v2", "judge", FIRST, SECOND), None),
        (rollout("v3", "v2", "rolled-back", FIRST, SECOND), None),
        (rollout("v2", "v1", "done", FIRST, past("v2", "v1", "rolled-back")), None),
        (rollout("v2", "v3", "done", FIRST, SECOND, past("v3", "v2")), None),
        (rollout("v1", "v2", "refused", FIRST, SECOND), None),
        (None, "it was never rolled out"),
        (rollout("v3", "v1"), "it was never rolled out"),
        (rollout("v2", "v1", "shift"), "its rollout is in phase shift"),
        (rollout("v2", "v1", "back", abort="5% errors"), "its rollout is in phase back (5% errors)"),
        (
            rollout("v3", "v1", "done", FIRST, past("v2", "v1", "rolled-back", "5% errors")),
            "its rollout is in phase rolled-back (5% errors)",
        ),
        (rollout("v1", "v2", "done", FIRST, SECOND), "it was rolled back to v1"),
        (rollout("v1", "v2", "shift", FIRST, SECOND, abort="too slow"), "it was rolled back to v1 (too slow)"),
        (rollout("v1", "v2", "done", SECOND), "it was rolled back to v1"),
    ],
)
def test_a_version_is_proven_if_its_last_rollout_got_all_traffic_and_nobody_went_back(found, expected):
    assert objection(control(found, v2=(TWO, "live")), "app", "v2", TWO) == expected


@pytest.mark.parametrize(("digest", "ran"), [(None, "a working tree"), (ONE, "another image (111111111111)")])
def test_what_was_rolled_out_has_to_be_the_very_image(digest, ran):
    found = objection(control(rollout("v2", "v1"), v2=(digest, "live")), "app", "v2", TWO)
    assert found == f"what was rolled out under this label is {ran}"


def test_an_image_is_needed_by_versions_that_are_not_retired():
    records = control(v1=(ONE, "retired"), v2=(TWO, "draining"))
    assert needed_for(records, {}, ONE) == []
    assert needed_for(records, {}, TWO) == ["app v2 is draining"]


def test_an_image_is_needed_by_a_rollout_until_its_window_is_over():
    labels = {("app", "v1"): ONE, ("app", "v2"): TWO}
    for phase in ("verify", "judge", "standby", "back"):
        assert needed_for(control(rollout("v2", "v1", phase)), labels, TWO)
        assert needed_for(control(rollout("v2", "v1", phase)), labels, ONE)
        assert not needed_for(control(rollout("v2", "v1", phase)), labels, "3" * 64)
    for phase in ("done", "rolled-back", "refused"):
        assert not needed_for(control(rollout("v2", "v1", phase)), labels, TWO)
