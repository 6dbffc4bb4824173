"""Plans the next step of a rollout. Pure: from its record and the known facts to a fleet, an effect and a record.

Each phase defines the desired state (`fleet`: which versions have workers, and at least how many), what to do now
(`effect`), and the record after that. All of it can be repeated without harm, so a deployer that takes over at any
moment does it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headway.control.records import OVER, Phase, RolloutRecord, Transition, Verdict

HISTORY: Final = 60
"""Transitions that a record remembers."""
READY_WITHIN: Final = 120.0
"""Seconds that a version has to get the workers for a step, and a shift to be proven and made.

Like all deadlines here it counts only seconds in which a deployer was watching and the rollout was not paused.
"""
GONE_AFTER: Final = 5.0
"""Seconds without a serving worker after which a version with traffic is rolled back."""
LEFT_AFTER: Final = 30.0
"""The same for an old version that drains: then the new one takes over its jobs."""


RECHECK: Final = 50
"""Percent of the traffic that the old version gets when it is compared again."""
HELD: Final = "held:"
"""Start of the note of a rollout that waits for a person because its traffic is too thin to prove anything."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Prove that the version can be run, and that its contract fits the one before."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """Call the version's workers alone, before it has traffic."""


@dataclass(frozen=True, slots=True)
class Route:
    """Set the service's weights; None routes it nowhere.

    Attributes:
        weights: by version, or version and cluster as in `v2@eu`.
        proven: prove first that everything arrives. Rollbacks do not wait for proofs.
    """

    weights: Mapping[str, int] | None
    proven: bool


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Move jobs of one version to another.

    Attributes:
        source, target: the versions.
        waiting: move only what waits for a retry, and leave the rest to the version's own workers.
    """

    source: str
    target: str
    waiting: bool = False


Effect = Verify | Smoke | Route | TakeOver


@dataclass(frozen=True, slots=True)
class DesiredVersion:
    """The desired phase and minimum of a version, as in `VersionRecord`."""

    phase: Literal["live", "draining", "retired"]
    minimum: int = 0


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """The known facts.

    Attributes:
        settled: whether heartbeats have been heard for long enough that silence means something.
        route: the service's weights; None if unknown.
        serving: healthy serving workers, by version.
        missing: seconds for which a version has had none.
        alive: workers with heartbeats, by version.
        busy: calls, jobs and events in progress, by version.
        left: jobs not acknowledged, by version; None if unknown.
        looping: versions in a crash loop, and how their workers died.
        verdict: the judge's on this step; None before the first one.
        judged_for: seconds that it has observed.
        watched: seconds of the phase in which a deployer watched and nothing was paused.
    """

    settled: bool = True
    route: Mapping[str, int] | None = None
    serving: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    alive: Mapping[str, int] = field(default_factory=dict)
    busy: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] | None = None
    looping: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    judged_for: float = 0.0
    watched: float = 0.0

    def idle(self, version: str) -> bool:
        """Return whether it is certain that a version has nothing queued and nothing in progress."""
        return self.settled and self.left is not None and not self.left.get(version) and not self.busy.get(version)


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What to do now: update the fleet, carry out the effect, then write the record.

    Attributes:
        then: the record after the effect.
        otherwise: the record when the effect fails for good; it gets the reason. None: record it, and try again.
        fleet: desired versions.
        effect: None if there is nothing to do.
        first: the effect comes before the fleet.
    """

    then: RolloutRecord
    otherwise: RolloutRecord | None = None
    fleet: Mapping[str, DesiredVersion] = field(default_factory=dict)
    effect: Effect | None = None
    first: bool = False


def plan(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    """Plan the next step of a rollout.

    Args:
        record: the rollout.
        facts: the known facts.
        now: unix seconds.
    """
    record = _compared_again(record, facts, now) or record
    back = _must_go_back(record, facts)
    if back is not None:
        record = move(record.model_copy(update={"verdict": facts.verdict or record.verdict}), "back", now, back)
    match record.phase:
        case "verify":
            made = _verify(record, facts, now)
        case "warm-up":
            made = _warm_up(record, facts, now)
        case "shift":
            made = _shift(record, facts, now)
        case "judge":
            made = _judge(record, facts, now)
        case "drain":
            made = _drain(record, facts, now)
        case "standby":
            made = _standby(record, facts, now)
        case "back":
            made = _back(record, now)
        case "take-over":
            made = _take_over(record, facts, now)
        case _:
            made = _over(record, facts)
    made = _clearing(record, made, facts)
    fleet_of = made.then if made.then.phase in OVER and not record.over else record
    return RolloutPlan(made.then, made.otherwise, fleet(fleet_of), made.effect, made.first)


def fleet(record: RolloutRecord) -> dict[str, DesiredVersion]:
    """Return the desired versions of a rollout.

    The old version keeps its capacity until a rollback is no longer possible.
    """
    new, old = record.version, record.before
    if record.phase in {"verify", "refused"}:
        if not record.remains:
            return {}
        kept = DesiredVersion("live", record.workers if record.phase == "verify" else 0)
        return {**dict.fromkeys(record.remains, DesiredVersion("retired")), **({old: kept} if old else {})}
    # Versions of earlier rollouts that were still kept warm when this one began are not needed any more.
    earlier = {name for past in record.past for name in (past.version, past.before) if name not in {None, new, old}}
    desired: dict[str, DesiredVersion] = {str(name): DesiredVersion("retired") for name in earlier}
    match record.phase:
        case "warm-up" | "shift" | "judge" | "drain" | "standby" | "back":
            desired[new] = DesiredVersion("live", needed(record))
            if old is not None:
                desired[old] = DesiredVersion("live", record.workers)
        case "take-over":
            good, bad = sides(record)
            desired[bad] = DesiredVersion("retired")
            if good is not None:
                desired[good] = DesiredVersion("live", record.workers)
        case "done":
            desired[new] = DesiredVersion("live")
            if old is not None:
                desired[old] = DesiredVersion("retired")
        case "rolled-back":
            desired[new] = DesiredVersion("retired")
            if old is not None:
                desired[old] = DesiredVersion("live")
    return desired


def needed(record: RolloutRecord) -> int:
    """Return the workers that the new version needs for its step: its share of the old version's."""
    return max(1, math.ceil(record.workers * record.weight / 100))


def weights(record: RolloutRecord, weight: int) -> dict[str, int]:
    """Return the service's weights with the new version at a percentage."""
    old = record.before
    if old is None:
        return {record.version: 100}
    if record.cluster is not None:
        there = {f"{record.version}@{record.cluster}": weight, f"{old}@{record.cluster}": 100 - weight}
        return {old: 100, **{version: share for version, share in there.items() if share}}
    return {version: share for version, share in ((old, 100 - weight), (record.version, weight)) if share}


def home(record: RolloutRecord) -> dict[str, int] | None:
    """Return the service's weights without the new version."""
    return None if record.before is None else {record.before: 100}


def sides(record: RolloutRecord) -> tuple[str | None, str]:
    """Return the good and the bad version of a rollout in take-over."""
    if record.urgent and record.abort is None:
        assert record.before is not None
        return record.version, record.before
    return record.before, record.version


def move(record: RolloutRecord, phase: Phase, now: float, reason: str, **changes: Any) -> RolloutRecord:
    """Return the record in its next phase, with the transition and its reason in its history."""
    measured = record.verdict.measured if record.phase == "judge" and record.verdict is not None else ()
    step = Transition(at=now, before=record.phase, after=phase, reason=reason, weight=record.weight, measured=measured)
    usual: dict[str, Any] = {
        "phase": phase,
        "since": now,
        "watched": 0.0,
        "note": "",
        "history": (*record.history, step)[-HISTORY:],
    }
    if phase == "back" and record.abort is None:
        usual["abort"] = reason
    return record.model_copy(update={**usual, **changes})


def because(record: RolloutRecord, reason: str) -> RolloutRecord:
    """Return the record with another reason for its last transition, one found while trying."""
    last = record.history[-1].model_copy(update={"reason": reason})
    abort = reason if record.phase == "back" else record.abort
    return record.model_copy(update={"history": (*record.history[:-1], last), "abort": abort})


def noted(record: RolloutRecord, note: str) -> RolloutRecord:
    """Return the record with a note of what it waits for."""
    return record.model_copy(update={"note": note})


def _must_go_back(record: RolloutRecord, facts: RolloutFacts) -> str | None:
    """Return why the traffic must go back to the old version now; None if it need not."""
    if record.over or record.phase in {"back", "take-over"}:
        return None
    if record.abort is not None:
        return record.abort
    new = record.version
    if record.phase != "verify" and new in facts.looping:
        return f"{new} is in a crash loop: {facts.looping[new]}"
    judged = record.phase in {"judge", "drain", "standby"}
    if judged and facts.verdict is not None and facts.verdict.outcome == "fail":
        return "; ".join(facts.verdict.reasons)
    if judged and facts.settled and facts.missing.get(new, 0.0) >= GONE_AFTER:
        return f"no worker of {new} has served for {GONE_AFTER:g} s"
    return None


def _compared_again(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutRecord | None:
    """Return the record of a released version that is compared with the old one again; None if it need not be.

    It fails more than before, and there is nothing to compare it with: that may be an outage that the old version would
    have as well. So the old version, which is warm, gets a part of the traffic, and the comparison decides.
    """
    released = record.phase in {"drain", "standby"} and record.abort is None and not record.paused
    if not released or facts.verdict is None or facts.verdict.outcome != "fail":
        return None
    if record.before is None or not facts.serving.get(record.before):
        return None
    last = len(record.steps) - 1
    again = {"full": False, "step": last, "holdback": RECHECK, "promoted": min(record.promoted, last)}
    why = f"{'; '.join(facts.verdict.reasons)}; {record.before} gets a part of it, to compare"
    return move(record, "shift", now, why, **again, rechecks=record.rechecks + 1, verdict=None)


def _verify(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    if record.remains and (facts.route is None or any(_name(of) in record.remains for of in facts.route)):
        told = f"{' and '.join(record.remains)} of the rollout before it loses all traffic"
        return RolloutPlan(noted(record, told), effect=Route(home(record), proven=False), first=True)
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if not facts.settled:
        return RolloutPlan(noted(record, "listening to the workers there are"))
    old = record.before
    workers = max(1, record.workers, facts.serving.get(old, 0) if old else 0)
    then = move(record, "warm-up", now, f"{record.version} can be run", workers=workers)
    return RolloutPlan(then, move(record, "refused", now, ""), effect=Verify())


def _warm_up(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if (waiting := _growing(record, facts, now) or _stuck(record, facts, now)) is not None:
        return waiting
    serving = _workers(facts.serving.get(record.version, 0), record.version)
    return RolloutPlan(
        move(record, "shift", now, f"{serving} and its calls are answered"),
        move(record, "back", now, ""),
        effect=Smoke(),
    )


def _shift(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if (waiting := _growing(record, facts, now) or _stuck(record, facts, now)) is not None:
        return waiting
    wanted = weights(record, record.weight)
    reason = f"{_share(record)} with {_workers(facts.serving.get(record.version, 0), record.version)}"
    if record.full:
        then = _released(record, now, reason)
    else:
        then = move(record, "take-over" if record.urgent else "judge", now, reason, verdict=None)
    return RolloutPlan(then, effect=Route(wanted, proven=True))


def _growing(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan | None:
    """Return the plan that waits for workers; None once there are enough."""
    there, wanted = facts.serving.get(record.version, 0), needed(record)
    if there >= wanted:
        return None
    told = f"{there} of {_workers(wanted, record.version)}"
    if facts.watched >= READY_WITHIN:
        return RolloutPlan(move(record, "back", now, f"after {READY_WITHIN:g} s only {told}"))
    return RolloutPlan(noted(record, f"waits for workers: {told}"))


def _stuck(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan | None:
    """Return the plan that gives up after too many attempts; None while it may be tried again."""
    if not record.note or facts.watched < READY_WITHIN:
        return None
    return RolloutPlan(
        move(record, "back", now, f"the {record.phase} was not taken in {READY_WITHIN:g} s: {record.note}")
    )


def _judge(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    wanted = weights(record, record.weight)
    if facts.route is not None and facts.route != wanted:
        return RolloutPlan(noted(record, "somebody else had changed the weights"), effect=Route(wanted, proven=True))
    verdict = facts.verdict
    record = record.model_copy(update={"verdict": verdict})
    promoted = record.promoted > record.step
    left = record.bake - facts.judged_for
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if promoted:
        return RolloutPlan(_onward(record, now, f"promoted by {_promoter(record)}"))
    if verdict is None:
        return RolloutPlan(noted(record, "nothing is known yet"))
    if verdict.outcome == "waiting":
        return _waiting(record, facts, now, "; ".join(verdict.reasons))
    if left > 0:
        return RolloutPlan(noted(record, "judging"))
    if record.manual:
        return RolloutPlan(noted(record, f"waits for `headway rollout promote {record.service}`"))
    return RolloutPlan(_onward(record, now, "; ".join(verdict.reasons)))


def _waiting(record: RolloutRecord, facts: RolloutFacts, now: float, missing: str) -> RolloutPlan:
    """Return the plan for a step without proof: wait, and after the patience do as the user chose."""
    criteria = record.criteria
    if record.manual:
        return RolloutPlan(noted(record, f"{missing}; `headway rollout promote {record.service}` goes on without"))
    if facts.judged_for < criteria.patience:
        return RolloutPlan(noted(record, missing))
    told = f"nothing was shown in {criteria.patience:g} s"
    match criteria.thin:
        case "promote":
            return RolloutPlan(_onward(record, now, f"{told}, and it was to go on then: {missing}"))
        case "back":
            return RolloutPlan(move(record, "back", now, f"{told}, and it was to go back then: {missing}"))
    return RolloutPlan(noted(record, f"{HELD} {told}. {missing}. `headway rollout promote {record.service}` goes on"))


def _promoter(record: RolloutRecord) -> str:
    return next((one.by for one in reversed(record.asked) if one.what == "promote"), "hand")


def _onward(record: RolloutRecord, now: float, reason: str) -> RolloutRecord:
    """Return the plan that goes to the next step, or beyond the last one."""
    if record.step + 1 < len(record.steps):
        return move(record, "shift", now, reason, step=record.step + 1)
    if record.held_back:
        return move(record, "shift", now, reason, full=True)
    return _released(record, now, reason)


def _released(record: RolloutRecord, now: float, reason: str) -> RolloutRecord:
    """Return the plan beyond the last step: the new version has all traffic."""
    if record.cluster is not None:
        return move(record, "standby", now, f"{reason}; {record.before} goes on elsewhere")
    return move(record, "drain", now, reason)


def _drain(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    old = record.before
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if old is None:
        return RolloutPlan(move(record, "standby", now, "there was no version before"))
    if facts.idle(old):
        return RolloutPlan(move(record, "standby", now, f"{old} has nothing queued and nothing in hand"))
    left, busy = (facts.left or {}).get(old, 0), facts.busy.get(old, 0)
    waiting = noted(record, f"{old} has {left:,} jobs left and {busy:,} in hand")
    gone = facts.settled and facts.missing.get(old, 0.0) >= LEFT_AFTER
    return RolloutPlan(waiting, effect=TakeOver(old, record.version, waiting=not gone) if left else None)


def _standby(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    if record.paused:
        return RolloutPlan(noted(record, "paused"))
    if record.cluster is not None:
        return RolloutPlan(noted(record, f"has all traffic of {record.cluster}; deploy it everywhere, or roll it back"))
    if record.before is None:
        return RolloutPlan(move(record, "done", now, "released"))
    if facts.watched >= record.window:
        return RolloutPlan(move(record, "done", now, f"{record.before} was not wanted back for {record.window:g} s"))
    return RolloutPlan(noted(record, f"{record.before} is kept warm"))


def _back(record: RolloutRecord, now: float) -> RolloutPlan:
    reason = f"{record.before} has all traffic again" if record.before else "there is no version to go back to"
    then = move(record, "take-over", now, reason)
    return RolloutPlan(then, effect=Route(home(record), proven=False), first=True)


def _take_over(record: RolloutRecord, facts: RolloutFacts, now: float) -> RolloutPlan:
    good, bad = sides(record)
    over: Phase = "done" if good == record.version else "rolled-back"
    left = (facts.left or {}).get(bad, 0)
    if good is None:
        return RolloutPlan(move(record, over, now, f"{left:,} jobs stay queued, no version is left to take them"))
    if facts.idle(bad) and (not facts.alive.get(bad) or facts.watched >= READY_WITHIN):
        took = f"{record.took_over:,} jobs were taken over by {good}"
        return RolloutPlan(move(record, over, now, f"{bad} has nothing left; {took}"))
    told = "an unknown number of" if facts.left is None else f"{left:,}"
    note = f"{bad} has {told} jobs left and {_workers(facts.alive.get(bad, 0), bad)} stopping"
    return RolloutPlan(noted(record, note), effect=TakeOver(bad, good) if left or facts.left is None else None)


def _clearing(record: RolloutRecord, made: RolloutPlan, facts: RolloutFacts) -> RolloutPlan:
    """Return the plan with what clears the remains of a superseded rollout, where there is nothing else to do.

    Their workers finish what they have in hand; what else is queued goes to the version with the traffic.
    """
    if not record.remains or made.effect is not None or made.then.phase != record.phase or facts.left is None:
        return made
    if record.phase in {"verify", "back", "take-over"}:
        return made
    rest = tuple(one for one in record.remains if not facts.idle(one) or facts.alive.get(one))
    target = record.version if record.phase in {"drain", "standby", "done"} else record.before
    queued = (one for one in rest if facts.left.get(one, 0) > facts.busy.get(one, 0))
    source = next(queued, None) if target is not None else None
    effect = None if source is None else TakeOver(source, str(target))
    return RolloutPlan(made.then.model_copy(update={"remains": rest}), made.otherwise, effect=effect)


def _over(record: RolloutRecord, facts: RolloutFacts) -> RolloutPlan:
    """Return the plan for late jobs in the queue of a removed version, if there are any."""
    good, bad = (record.version, record.before) if record.phase == "done" else (record.before, record.version)
    stray = record.phase != "refused" and good and bad and (facts.left or {}).get(bad, 0)
    routed = facts.route is None or bad in facts.route
    if stray and not routed and not facts.alive.get(bad or ""):
        return RolloutPlan(record, effect=TakeOver(str(bad), str(good)))
    return RolloutPlan(record)


def _name(routed: str) -> str:
    """Return the version of a key of a route, which is `v2` or `v2@eu`."""
    return routed.partition("@")[0]


def _workers(count: int, version: str) -> str:
    return f"{count} worker{'' if count == 1 else 's'} of {version}"


def _share(record: RolloutRecord) -> str:
    where = f" of {record.cluster}" if record.cluster else ""
    return f"{record.version} has {record.weight}% of the traffic{where}"
