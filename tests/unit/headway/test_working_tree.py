"""A version that was released from an image is what it was: a working tree does not take its label."""

from __future__ import annotations

import pytest

from headway.bus.errors import UsageError
from headway.control.records import VersionRecord
from headway.declare import working_tree_label


def version(label: str, image: str | None = None) -> VersionRecord:
    return VersionRecord(service="fax", version=label, app="a:b", root="/", image=image)


def test_a_label_that_no_image_has_is_the_working_trees():
    assert working_tree_label("v1", {}) == ("v1", None)
    assert working_tree_label("v1", {"v1": version("v1"), "v2": version("v2", "sha256-1")}) == ("v1", None)


def test_the_working_tree_does_not_change_what_a_released_version_is():
    label, said = working_tree_label("v2", {"v2": version("v2", "sha256-1")})
    assert label == "dev"
    assert said == "v2 was released from an image and stays what it was: the working tree is dev"


def test_a_released_dev_is_not_changed_either():
    known = {"v2": version("v2", "sha256-1"), "dev": version("dev", "sha256-2")}
    with pytest.raises(UsageError, match="stay what they were"):
        working_tree_label("v2", known)
