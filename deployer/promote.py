"""From one environment to another: the very same image, if its rollout was healthy where it comes from."""

from __future__ import annotations

from pathlib import Path

from headway.control.records import Past, Phase, RolloutRecord
from headway.control.store import Control
from headway.deployer.errors import NotHealthy
from headway.images import image, store
from headway.images.image import Manifest

_WELL: frozenset[Phase] = frozenset({"standby", "done"})
"""Phases in which a version has all traffic, and the judge had nothing against it."""


def promote(control: Control, origin: Path, target: Path, service: str, version: str) -> Manifest:
    """Copy an image, and verify it at its new place. Nothing is deployed. Blocks: it reads and writes files.

    Args:
        control: the origin's records, as of their last refresh.
        origin: data directory of the environment that it comes from.
        target: that of the one that it is brought to.
        service: whose version it is.
        version: its label, which it keeps.

    Raises:
        NoImage, ImageChanged: if it is not whole at its origin.
        NotHealthy: if its rollout there was not healthy.
        LabelTaken, ImageError: as `store.copy`.
    """
    digest = image.resolve(origin, service, version)
    against = objection(control, service, version, digest)
    if against is not None:
        raise NotHealthy(f"{service} {version} is not proven: {against}")
    return store.copy(origin, target, digest)


def objection(control: Control, service: str, version: str, digest: str) -> str | None:
    """Why a version is not proven by the control records; None if its rollout was healthy."""
    record = control.versions.get((service, version))
    rollout = control.rollouts.get(service)
    if record is None or rollout is None:
        return "it was never rolled out"
    if record.image != digest:
        ran = "a working tree" if record.image is None else f"another image ({record.image[:12]})"
        return f"what was rolled out under this label is {ran}"
    return _history(version, [*rollout.past, _as_past(rollout)])


def _history(version: str, rollouts: list[Past]) -> str | None:
    """What the last rollout of a version, and what came after it, say against it."""
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
    """The rollout that is under way, or the last one, as one of the past is kept."""
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
