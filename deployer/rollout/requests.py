"""Requests to the deployer. Each is one write into a record; the deployer sees it at once and acts on it. The record
stores who asked.

If no deployer runs, the next one carries out the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from headway.bus.errors import Conflict, NotFound, UsageError
from headway.control.records import Asked, Check, Criteria, Past, Request, RolloutRecord, VersionRecord
from headway.control.store import Control, Versioned, rollout_key, version_key
from headway.deployer.errors import NoRollout, RolloutRuns, UnknownVersion
from headway.deployer.rollout.plan import noted

PAST: Final = 20
"""Rollouts that a service's record remembers."""
ASKED: Final = 30
"""Requests that a rollout's record remembers."""
HOLDBACK: Final = 5
"""Percent of the traffic that the old version keeps at the last step."""
HAND: Final = "hand"
"""The requester if none is named: a person at the command line."""

_TRIES: Final = 8

Make = Callable[[Versioned[RolloutRecord] | None], tuple[RolloutRecord, VersionRecord]]

_STEPS: Final = (5, 25, 50, 100)


async def deploy(
    control: Control,
    version: VersionRecord,
    *,
    steps: Sequence[int] = _STEPS,
    bake: float = 30.0,
    window: float = 600.0,
    manual: bool = False,
    breaking: bool = False,
    cluster: str | None = None,
    checks: tuple[Check, ...] = (),
    criteria: Criteria | None = None,
    holdback: int = HOLDBACK,
    supersede: bool = False,
    by: str = HAND,
) -> RolloutRecord:
    """Start the rollout of a version.

    Args:
        control: the records.
        version: what its workers are started from; its weight, minimum and phase are the deployer's.
        steps: shares of the traffic in percent, ascending to 100.
        bake: seconds that each step is judged for.
        window: seconds for which the old version is kept warm afterwards.
        manual: each step waits for `promote`.
        breaking: schemas may differ in ways that break callers or queued jobs.
        cluster: shift traffic only there.
        checks: the user's checks.
        criteria: when the canary is worse, and when it is proven not to be.
        holdback: percent of the traffic that the old version keeps at the last step, to compare with.
        supersede: if another rollout is under way, end it: unless its version has all traffic already, the one before
            gets all of it back, and this rollout follows that one.
        by: the requester.

    Raises:
        RolloutRuns: if one of the same service is in progress.
        UsageError: if the version has all traffic already, or the service is split without a rollout.
        UnknownVersion: if the service has no record.
        Conflict: if another rollout was started at the same moment.
    """
    service, label = version.service, version.version

    def make(kept: Versioned[RolloutRecord] | None) -> tuple[RolloutRecord, VersionRecord]:
        last = None if kept is None else kept.value
        if last is not None and not supersede and not _replaceable(last, label, cluster):
            raise RolloutRuns(_runs(last), remedy=_instead(last))
        if service not in control.services:
            raise UnknownVersion(f"there is no service {service}", remedy="start it with `headway up` first")
        workers = 1
        remains: tuple[str, ...] = ()
        if last is None or _replaceable(last, label, cluster):
            before = serving(control, service)
        else:
            before, remains = superseded(last)
            workers = last.workers
            if label in remains:
                raise RolloutRuns(_runs(last), remedy="watch it, or supersede it with another version")
        if before == label:
            raise UsageError(f"{service} {label} has all traffic already", remedy="build and deploy a new version")
        known = control.versions.get((service, label))
        if known is not None and known.phase == "live" and _source(known) != _source(version):
            raise UsageError(f"{service} {label} runs already, from something else", remedy="build a new version")
        record = RolloutRecord(
            service=service,
            version=label,
            before=before,
            remains=remains,
            workers=workers,
            steps=(100,) if before is None else tuple(steps),
            bake=bake,
            window=window,
            manual=manual,
            breaking=breaking,
            cluster=cluster,
            checks=checks,
            criteria=criteria or Criteria(),
            holdback=holdback,
        )
        return _noting(record, "deploy", by), version

    return await _begin(control, service, make)


async def rollback(control: Control, service: str, to: str | None = None, by: str = HAND) -> RolloutRecord:
    """Roll a service back, or to an earlier version.

    By default it undoes the rollout that is in progress or in its rollback window.

    Raises:
        NoRollout: if there is no rollout to undo, or no version to return to.
        RolloutRuns: if another rollout is in progress.
        UnknownVersion: if the version is unknown.
    """
    kept = await control.get(rollout_key(service), RolloutRecord)
    if kept is not None and not kept.value.over:
        if to not in {None, kept.value.before}:
            raise RolloutRuns(
                _runs(kept.value), remedy=f"`headway rollout abort {service}` first; then roll back to {to}"
            )
        return await _abort(control, service, "rollback", f"rolled back by {by}", by)

    def make(kept: Versioned[RolloutRecord] | None) -> tuple[RolloutRecord, VersionRecord]:
        last = None if kept is None else kept.value
        if last is not None and not last.over:
            raise RolloutRuns(_runs(last), remedy=_instead(last))
        before = serving(control, service)
        target = to or (last.before if last is not None and last.phase == "done" else None)
        if target is None or before is None:
            raise NoRollout(f"{service} has no rollout to take back", remedy="name a version to go back to with --to")
        if target == before:
            raise NoRollout(f"{service} {target} has all traffic already", remedy="name another version with --to")
        version = control.versions.get((service, target))
        if version is None:
            told = f"nothing is known of {service} {target}"
            raise UnknownVersion(told, remedy="see `headway image ls`, and deploy it")
        made = RolloutRecord(
            service=service, version=target, before=before, steps=(100,), bake=0.0, breaking=True, urgent=True
        )
        return _noting(made, "rollback", by), version

    return await _begin(control, service, make)


async def abort(control: Control, service: str, by: str = HAND) -> RolloutRecord:
    """Send all traffic back to the old version. Raises `NoRollout` if no rollout is in progress."""
    return await _abort(control, service, "abort", f"aborted by {by}", by)


async def pause(control: Control, service: str, by: str = HAND) -> RolloutRecord:
    """Hold the rollout; it can still roll back. Raises `NoRollout`."""

    def alter(record: RolloutRecord) -> RolloutRecord:
        return record if record.paused else _noting(record.model_copy(update={"paused": True}), "pause", by)

    return await _ask(control, service, alter)


async def resume(control: Control, service: str, by: str = HAND) -> RolloutRecord:
    """Continue after a pause. Raises `NoRollout`."""

    def alter(record: RolloutRecord) -> RolloutRecord:
        going = noted(record.model_copy(update={"paused": False}), "")
        return _noting(going, "resume", by) if record.paused else record

    return await _ask(control, service, alter)


async def promote(control: Control, service: str, by: str = HAND) -> RolloutRecord:
    """Go to the next step now, whatever the judge waits for. Raises `NoRollout` if no step is in progress."""

    def alter(record: RolloutRecord) -> RolloutRecord:
        if record.phase != "judge":
            told = f"{service} {record.version} is at {record.phase}: there is no step to promote"
            raise NoRollout(told, remedy=f"see `headway rollout watch {service}`")
        return _noting(record.model_copy(update={"promoted": record.step + 1, "paused": False}), "promote", by)

    return await _ask(control, service, alter)


def serving(control: Control, service: str) -> str | None:
    """Return the version that has a service's traffic; None if none has.

    Raises:
        UsageError: if it is split without a rollout.
    """
    weights = {version: v.weight for (name, version), v in control.versions.items() if name == service and v.weight}
    if not weights:
        return None
    if len(weights) > 1:
        split = ", ".join(f"{version} {weight}%" for version, weight in sorted(weights.items()))
        raise UsageError(f"the traffic of {service} is split: {split}", remedy="give one version all of it first")
    return next(iter(weights))


def superseded(record: RolloutRecord) -> tuple[str | None, tuple[str, ...]]:
    """Return who keeps the traffic when a rollout under way is superseded, and who has to lose what is left.

    That is the version that was rolled out if it has, or would get, all of the traffic for good; otherwise the one
    before, which keeps its workers until then.
    """
    new, old = record.version, record.before
    alone = old is None and record.phase not in {"verify", "warm-up", "back"}
    through = record.phase in {"drain", "standby"} or (record.phase == "shift" and record.full)
    undone = record.phase == "take-over" and record.urgent  # the target of a rollback has the traffic by then
    forward = record.abort is None and record.cluster is None
    keeps, loses = (new, old) if forward and (alone or through or undone) else (old, new)
    return keeps, tuple(one for one in (loses, *record.remains) if one is not None and one != keeps)


async def _abort(control: Control, service: str, what: Request, reason: str, by: str) -> RolloutRecord:
    def alter(record: RolloutRecord) -> RolloutRecord:
        going_back = record.abort is not None
        return record if going_back else _noting(record.model_copy(update={"abort": reason}), what, by)

    return await _ask(control, service, alter)


def _noting(record: RolloutRecord, what: Request, by: str) -> RolloutRecord:
    """Return the record with a request and its author added."""
    asked = (*record.asked, Asked(at=time.time(), what=what, by=by))
    return record.model_copy(update={"asked": asked[-ASKED:]})


async def _ask(control: Control, service: str, alter: Callable[[RolloutRecord], RolloutRecord]) -> RolloutRecord:
    def checked(record: RolloutRecord) -> RolloutRecord:
        if record.over:
            raise NoRollout(f"no rollout of {service} is under way: that of {record.version} is {record.phase}")
        return alter(record)

    try:
        return await control.change(rollout_key(service), RolloutRecord, checked)
    except NotFound as error:
        raise NoRollout(f"{service} was never rolled out") from error


async def _begin(control: Control, service: str, make: Make) -> RolloutRecord:
    """Write the records of a version and its rollout; repeat if the deployer wrote meanwhile.

    Raises:
        Conflict: if other writers keep interfering.
    """
    key = rollout_key(service)
    for _ in range(_TRIES):
        kept = await control.get(key, RolloutRecord)
        await control.refresh()
        record, version = make(kept)
        now = time.time()
        changes: dict[str, Any] = {"began": now, "since": now}
        if kept is not None:
            ended = _past(kept.value)
            if kept.value.version in record.remains:
                ended = ended.model_copy(update={"outcome": "superseded", "reason": f"by {record.version}"})
            changes |= {"number": kept.value.number + 1, "past": (*kept.value.past, ended)[-PAST:]}
        begun = record.model_copy(update=changes)
        # The version's record first, which has no effect yet: if the other write is refused, nothing has happened.
        known = control.versions.get((service, version.version))
        if known is None or known.phase != "live":
            idle = {"weight": 0, "minimum": 0, "phase": "retired"}
            await control.put(version_key(service, version.version), version.model_copy(update=idle))
        try:
            await control.put(key, begun, expect=kept.revision if kept is not None else await control.marker(key))
        except Conflict:
            continue
        return begun
    raise Conflict(f"the rollout of {service} was changed {_TRIES} times while another was begun")


def _replaceable(record: RolloutRecord, version: str, cluster: str | None) -> bool:
    """Return whether another rollout may follow: this one is over, or only in its rollback window."""
    if record.over:
        return True
    if record.phase != "standby" or record.abort is not None:
        return False
    return record.cluster is None or (cluster is None and record.version == version)


def _source(version: VersionRecord) -> tuple[Any, ...]:
    return version.app, version.root, version.config, version.image


def _past(record: RolloutRecord) -> Past:
    last = record.history[-1] if record.history else None
    return Past(
        number=record.number,
        version=record.version,
        before=record.before,
        outcome=record.phase,
        began=record.began,
        ended=record.since,
        reason=record.abort or (last.reason if last else ""),
    )


def _runs(record: RolloutRecord) -> str:
    share = f" at {record.weight}%" if record.phase in {"shift", "judge"} else ""
    return f"a rollout of {record.service} {record.version} is under way ({record.phase}{share})"


def _instead(record: RolloutRecord) -> str:
    name = record.service
    return (
        f"watch it (`headway rollout watch {name}`), take it back (`headway rollout abort {name}`), "
        "or deploy with --supersede"
    )
