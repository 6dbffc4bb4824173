"""Turns the evidence into a verdict: the findings, what is still missing, and the numbers. Pure.

A verdict fails a canary on evidence, on crashes, on exhausted workers, or on a user's check. It passes a canary only
on proof. Until then it waits, and reports for what.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from headway.bus.telemetry.histogram import BUCKETS, quantile
from headway.control.records import P95, Measured, Verdict
from headway.deployer.analysis.analysis import KINDS, Analysis, AnalysisDecision, AnalysisFinding
from headway.deployer.analysis.binomial import rank_above, rank_below
from headway.deployer.analysis.dependence import depends_on
from headway.deployer.analysis.strain import LoopLag
from headway.deployer.evidence import Checked, Side

QUANTILE: Final = 0.95
CONFIDENCE: Final = 0.95
"""Confidence of the displayed bounds of a percentile; they decide nothing."""
DEATHS: Final = 3
"""Deaths of the canary's workers, beyond the baseline's, that fail it."""
SILENCE: Final = 3.0
"""Seconds without a request after which a verdict mentions it."""
_LONG: Final = 86_400.0
"""Seconds above which no estimate is shown."""
_WORDS: Final = {
    "errors": "of {} failed",
    "rejected": "of {} were rejected",
    "look": "of {} failed",
    "operations": "of {} failed",
    "tenants": "of {} failed",
    "dead": "of {} were given up",
    "shed": "of {} were refused under load",
}


def judge(
    analysis: Analysis, canary: Side, baseline: Side | None, checks: Sequence[Checked] = (), service: str = "SERVICE"
) -> Verdict:
    """Judge a step.

    Args:
        analysis: the evidence on both versions.
        canary: the new version.
        baseline: the old one; None if no other version has traffic.
        checks: results of the user's checks.
        service: name of the service, for the commands in the text.
    """
    decision = analysis.decide()
    reasons = [*_crashes(canary, baseline), *(f"check {one.name}: {one.said}" for one in checks if one.ok is False)]
    measured = tuple(_measured(analysis, canary, baseline))
    alone: str | None = None
    if baseline is not None:
        alone = depends_on(analysis, decision)
        if alone is None:
            reasons += _found(analysis, decision, canary.version, baseline.version)
        reasons += _strained(analysis, canary.version, baseline.version)
    if reasons:
        return Verdict(outcome="fail", reasons=tuple(reasons), measured=measured)
    if alone is not None and baseline is not None:
        found = tuple(_found(analysis, decision, canary.version, baseline.version))
        return Verdict(outcome="waiting", reasons=(*found, _alone(alone, service)), measured=measured)
    numbers = tuple(_numbers(analysis, canary, baseline))
    told = tuple(f"check {one.name}: {one.said}" for one in checks)
    if unknown := [one for one in checks if one.ok is None]:
        names = ", ".join(one.name for one in unknown)
        waits = f"nothing is known of check {names} yet"
        return Verdict(outcome="waiting", reasons=(*numbers, *told, waits), measured=measured)
    if baseline is None:
        single = f"{canary.version} runs, and no other version has traffic to compare with"
        return Verdict(outcome="pass", reasons=(single, *told), measured=measured)
    if decision.outcome == "pass":
        return Verdict(outcome="pass", reasons=(*numbers, *told, _shown(analysis)), measured=measured)
    needed, within = _needed(analysis)
    missing = _missing(analysis, canary.version, baseline.version, service)
    return Verdict(
        outcome="waiting", reasons=(*numbers, *told, missing), measured=measured, needed=needed, within=within
    )


def at_least(counts: Sequence[int], alpha: float, q: float = QUANTILE) -> float | None:
    """Return a lower bound of the q-quantile with error probability `alpha`; None with too few samples.

    The number of samples below the quantile is binomial, so a sample of a certain rank is below it with a known
    probability. The result is the lower bound of that sample's bucket.
    """
    if not (total := sum(counts)):
        return None
    rank = rank_below(total, q, alpha)
    return _edge(counts, rank, 0) if rank >= 1 else None


def at_most(counts: Sequence[int], alpha: float, q: float = QUANTILE) -> float | None:
    """Return an upper bound of the q-quantile with error probability `alpha`; None with too few samples."""
    if not (total := sum(counts)):
        return None
    rank = rank_above(total, q, alpha) + 1
    return _edge(counts, rank, 1) if rank <= total else None


def _edge(counts: Sequence[int], rank: int, upper: int) -> float | None:
    """Return a bound of the bucket that holds the sample of a rank (from 1); None for the upper one of the last."""
    edges = (0.0, *BUCKETS)
    for bucket, seen in enumerate(accumulate(counts)):
        if seen >= rank:
            return edges[bucket + upper] if bucket + upper < len(edges) else None
    return None


def _crashes(side: Side, other: Side | None) -> Iterable[str]:
    last = f", the last one with {side.last_exit}" if side.last_exit else ""
    if side.health == "crash-loop":
        yield f"{side.version} is in a crash loop: {side.deaths} workers died{last}"
    elif side.deaths - (other.deaths if other else 0) >= DEATHS:
        yield f"{side.deaths} workers of {side.version} died{last}"


def _found(analysis: Analysis, decision: AnalysisDecision, new: str, old: str) -> Iterable[str]:
    """Return the findings that stop the release, each with its numbers."""
    if decision.outcome != "stop":
        return
    odds = 1 / analysis.criteria.alpha
    for one in decision.findings:
        told = _counted(analysis, one, new, old) if one.kind in _WORDS else _timed(analysis, one, new, old)
        if decision.p is not None:
            yield f"{told}; by chance that happens with a probability of {decision.p:.1g}"
        else:
            yield f"{told}; the evidence is {_large(one.log)} : 1, {odds:,.0f} : 1 in all stops a release"


def _counted(analysis: Analysis, one: AnalysisFinding, new: str, old: str) -> str:
    total = analysis.totals(one.kind, one.name)
    where = {"operations": f"{one.name}: ", "tenants": f"tenant {one.name}: "}.get(one.kind, "")
    words = _WORDS[one.kind].format(f"{total.canary:,}")
    ours = f"{where}{total.canary_hits:,} {words} at {new} ({_percent(total.canary_hits, total.canary)})"
    share = _percent(total.baseline_hits, total.baseline)
    return f"{ours}, {total.baseline_hits:,} of {total.baseline:,} at {old} ({share})"


def _timed(analysis: Analysis, one: AnalysisFinding, new: str, old: str) -> str:
    of = KINDS.get(one.name, one.name) if one.kind == "latency" else one.name
    ours, theirs = analysis.times(one.kind, one.name)
    mine, others = ((quantile(counts, 0.5), quantile(counts, QUANTILE)) for counts in (ours, theirs))
    told = f"half of {of} take up to {_time(mine[0])} and {QUANTILE:.0%} up to {_time(mine[1])} at {new}"
    return f"{told} ({sum(ours):,} measured), {_time(others[0])} and {_time(others[1])} at {old} ({sum(theirs):,})"


def _strained(analysis: Analysis, new: str, old: str) -> Iterable[str]:
    found = analysis.strain.saturated()
    if isinstance(found, LoopLag):
        yield f"the event loops of {new} run {_time(found.canary)} late, those of {old} {_time(found.baseline)}"
    elif found is not None:
        yield f"the workers of {new} use {found.canary:.0%} of a core, those of {old} {found.baseline:.0%}"
    if (grown := analysis.strain.leaking()) is not None:
        yield (
            f"the memory of a worker of {new} grew from {_bytes(grown.first)} to {_bytes(grown.canary)} and goes on "
            f"growing, that of {old} is {_bytes(grown.baseline)}"
        )


def _numbers(analysis: Analysis, canary: Side, baseline: Side | None) -> Iterable[str]:
    """Return the comparison for a canary that was not found worse."""
    if baseline is None:
        return
    new, old, total = canary.version, baseline.version, analysis.totals("errors")
    if not total.total:
        return
    yield (
        f"{total.canary_hits:,} of {total.canary:,} failed at {new} ({_percent(total.canary_hits, total.canary)}), "
        f"{total.baseline_hits:,} of {total.baseline:,} at {old} ({_percent(total.baseline_hits, total.baseline)})"
    )
    for kind in analysis.kinds:
        ours, theirs = analysis.times("latency", kind)
        if sum(ours) and sum(theirs):
            mine, others = quantile(ours, QUANTILE), quantile(theirs, QUANTILE)
            yield f"{QUANTILE:.0%} of {KINDS[kind]} take up to {_time(mine)} at {new}, {_time(others)} at {old}"


def _shown(analysis: Analysis) -> str:
    limit = analysis.limit
    certain = f"{analysis.criteria.confidence:.0%} certain"
    return f"it is {certain} to fail at most {limit.odds:.3g} times as often, or {100 * limit.points:.2g} points more"


def _alone(tenant: str, service: str) -> str:
    return (
        f"without tenant {tenant} the evidence does not stand, and no tenant decides a release alone: decide with "
        f"`headway rollout abort {service}` or `headway rollout promote {service}`"
    )


def _missing(analysis: Analysis, new: str, old: str, service: str) -> str:
    """Return what the step waits for."""
    total = analysis.totals("errors")
    by_hand = f"`headway rollout promote {service}` goes on without"
    if analysis.step_seconds >= SILENCE and analysis.quiet >= SILENCE:
        silent = (
            f"{new} has had no requests for {analysis.quiet:.0f} s"
            if total.baseline
            else (f"neither {new} nor {old} has had a request for {analysis.quiet:.0f} s")
        )
        return f"{silent}: without traffic nothing can be shown; {by_hand}"
    needed, within = _needed(analysis)
    if needed == 0:
        return "it may be worse or not: more requests will tell"
    if needed is None:
        return "it is neither shown to be worse nor to be as good: more requests will tell"
    time = "" if within is None else f", {_duration(within)} at the present rate"
    return f"about {needed:,} more requests of {new} are needed to show that it is as good{time}"


def _needed(analysis: Analysis) -> tuple[int | None, float | None]:
    if not math.isfinite(lacking := analysis.needed()):
        return None, None
    needed = _rounded(lacking)
    within = needed / analysis.rate if analysis.rate else math.inf
    return needed, within if within <= _LONG else None


def _rounded(number: float) -> int:
    """Return a number rounded to two significant digits: it is an estimate."""
    if number < 10:
        return math.ceil(number)
    scale: int = 10 ** (int(math.log10(number)) - 1)
    return int(math.ceil(number / scale) * scale)


def _measured(analysis: Analysis, canary: Side, baseline: Side | None) -> Iterable[Measured]:
    """Return the numbers of both sides, over the whole rollout."""
    errors, dead, shed = (analysis.totals(kind) for kind in ("errors", "dead", "shed"))
    times = {kind: analysis.times("latency", kind) for kind in analysis.kinds}
    doubt = (1 - CONFIDENCE) / 2
    for number, side in enumerate((canary, baseline)):
        if side is None:
            continue
        p95 = []
        for kind, both in times.items():
            if (at := quantile(both[number], QUANTILE)) is not None:
                low, high = at_least(both[number], doubt), at_most(both[number], doubt)
                p95.append(P95(kind=kind, at=at, low=low, high=high))
        yield Measured(
            version=side.version,
            tries=errors[2 * number],
            errors=errors[2 * number + 1],
            dead=dead[2 * number + 1],
            shed=shed[2 * number + 1],
            p95=tuple(p95),
        )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{math.ceil(seconds / 3600)} h"


def _large(log: float) -> str:
    return f"{math.exp(log):,.0f}" if log < 20 else f"1e{log / math.log(10):.0f}"


def _bytes(number: float) -> str:
    return f"{number / 1e6:,.0f} MB"
