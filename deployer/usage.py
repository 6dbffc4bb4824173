"""The uses of an image, according to the control records."""

from __future__ import annotations

from collections.abc import Mapping

from headway.control.records import OVER
from headway.control.store import Control


def needed_for(control: Control, labels: Mapping[tuple[str, str], str], digest: str) -> list[str]:
    """Return why an image must be kept, one sentence each; empty if it can be removed.

    Args:
        control: the records, as of their last refresh.
        labels: digests by service and version (`headway.images.image.labels`): a rollout may not have recorded its
            version yet.
        digest: digest of the image.
    """
    images = {**labels, **{key: record.image for key, record in control.versions.items() if record.image is not None}}
    found = [
        f"{record.service} {record.version} is {record.phase}"
        for record in control.versions.values()
        if record.image == digest and record.phase != "retired"
    ]
    for rollout in control.rollouts.values():
        if rollout.phase not in OVER:
            found += [
                f"the rollout of {rollout.service} {rollout.version} (in phase {rollout.phase}) may need {version}"
                for version in dict.fromkeys((rollout.version, rollout.before))
                if version is not None and images.get((rollout.service, version)) == digest
            ]
    return found
