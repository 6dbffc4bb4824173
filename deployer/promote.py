"""Promotion between environments: copies the identical image, if its rollout in the source environment was healthy."""

from __future__ import annotations

from pathlib import Path

from headway.control.records import Past, Phase, RolloutRecord
from headway.control.store import Control
from headway.deployer.errors import NotHealthy
from headway.images import image, store
from headway.images.image import Manifest

_WELL: frozenset[Phase] = frozenset({"standby", "done"})
"""Phases in which a version has all traffic and passed the judge."""


def promote(control: Control, origin: Path, target: Path, service: str, version: str) -> Manifest:
    """Copy an image and verify the copy. Nothing is deployed. Blocks on file access.

    Args:
        control: the origin's records, as of their last refresh.
        origin: data directory of the source environment.
        target: data directory of the target environment.
        service: name of the service.
        version: its label, which it keeps.

    Raises:
        NoImage, ImageChanged: if it is missing or damaged in the source environment.
        NotHealthy: if its rollout there was not healthy.
        LabelTaken, ImageError: as `store.copy`.
    """
    digest = image.resolve(origin, service, version)
    against = objection(control, service, version, digest)
    if against is not None:
        raise NotHealthy(f"{service} {version} is not proven: {against}")
    return store.copy(origin, target, digest)


def objection(control: Control, service: str, version: str, digest: str) -> str | None:
    """Return why the control records do not prove a version; None if its rollout was healthy."""
    record = control.versions.get((service, version))
    rollout = control.rollouts.get(service)
    if record is None or rollout is None:
        return "it was never rolled out"
    if record.image != digest:
        ran = "a working tree" if record.image is None else f"another image ({record.image[:12]})"
        return f"what was rolled out under this label is {ran}"
    return _history(version, [*rollout.past, _as_past(rollout)])


def _history(version: str, rollouts: list[Past]) -> str | None:
    """Return what its last rollout and later rollbacks say against a version."""
    last = max((number for number, one in enumerate(rollouts) if one.version == version), default=None)
    if last is None:
        return "it was never rolled out"
    found = rollouts[last]
    if found.outcome not in _WELL:
        return f"its rollout is in phase {found.outcome}{f' ({found.reason})' if found.reason else ''}"
    earlier = {name for one in rollouts[:last] for name in (one.version, one.before)} | {found.before}
    for one in rollouts[last + 1 :]:
        if one.before == version and one.version in earlier and one.outcome != "refused":
            return f"it was rolled back to {one.version}{f' ({one.reason})' if one.reason else ''}"
    return None


def _as_past(rollout: RolloutRecord) -> Past:
    """Return the current or last rollout in the form of past ones."""
    reason = rollout.abort or (rollout.history[-1].reason if rollout.history else "")
    return Past(
        number=rollout.number,
        version=rollout.version,
        before=rollout.before,
        outcome=rollout.phase,
        began=rollout.began,
        ended=rollout.since,
        reason=reason,
    )
