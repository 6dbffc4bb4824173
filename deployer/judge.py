"""The judge: is a canary worse than its baseline? Pure; docs/decisions/0010-the-judge.md has the statistics.

Both sides are compared over the same time, slice by slice, so that what happens to both (a slow disk, a dead telephone
line) counts against neither. What decides:

- errors, dead letters and refusals under load: an exact test (deployer/exact.py);
- latency: the canary's 95th percentile is at least so much, the baseline's at most so much, each with confidence;
- event loop and CPU: the canary is saturated, the baseline is not;
- crashes, and the checks that the user gave.

A verdict says `pass` only on enough requests of both sides; until then it is `waiting`, and says how many are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from statistics import median
from typing import Final, Literal

import numpy as np

from headway.bus.telemetry.histogram import BUCKETS, quantile
from headway.control.records import P95, Criteria, Measured, Verdict
from headway.deployer import exact
from headway.deployer.evidence import EMPTY, Count, Evidence, Side, Slice
from headway.deployer.exact import Stratum

QUANTILE: Final = 0.95
CONFIDENCE: Final = 0.95
"""Of the bounds that are shown; what decides has stricter ones."""
ABSOLUTE: Final = 0.01
"""Seconds by which a 95th percentile may be higher whatever the factor says: nobody notices."""
LATE: Final = 0.25
"""Seconds that an event loop wakes up late in the median when it is saturated."""
BUSY: Final = 0.9
"""Share of a core that a saturated worker uses."""
DEATHS: Final = 3
"""Deaths of the canary's workers, more than of the baseline's, that are too many."""
SEEN: Final = 10.0
"""Seconds of workers' lives after which CPU time says something."""

DOUBT: Final = 0.01
"""Where an equal canary would do as badly with less than this chance, it is neither aborted nor promoted yet."""
DOUBTFUL: Final = 1_000
"""Requests of both sides after which there is no more doubt: what is so small is not worth waiting for."""
_SHARES: Final = {"errors": 0.6, "latency": 0.2, "dead": 0.1, "shed": 0.1}
"""How the chance of a false alarm is shared out."""
_KINDS: Final = {"rpc": "calls", "job": "jobs", "on": "events"}


def judge(evidence: Evidence, criteria: Criteria, steps: int = 1) -> Verdict:
    """Judge one step.

    Args:
        evidence: what happened since it began.
        criteria: what is too bad.
        steps: of the whole rollout, which share its chance of a false alarm.
    """
    verdict = _verdict(evidence, criteria, criteria.alpha / steps)
    measured = [_measured(evidence.canary, _total(evidence, "canary"))]
    if evidence.baseline is not None:
        measured.append(_measured(evidence.baseline, _total(evidence, "baseline")))
    return verdict.model_copy(update={"measured": tuple(measured)})


def _verdict(evidence: Evidence, criteria: Criteria, alpha: float) -> Verdict:
    found = [*_crashes(evidence), *_checks(evidence)]
    if evidence.baseline is not None:
        found += _failures(evidence, criteria, alpha)
        found += _latency(evidence, criteria, alpha)
        found += _saturation(evidence)
    if found:
        return Verdict(outcome="fail", reasons=tuple(found))
    canary, baseline = _total(evidence, "canary"), _total(evidence, "baseline")
    new, old = evidence.canary.version, evidence.baseline
    if old is None:
        return Verdict(outcome="pass", reasons=(f"{new} runs, and no other version has traffic to compare with",))
    if min(canary.tries, baseline.tries) < criteria.requests:
        told = f"{new} has had {canary.tries:,} requests and {old.version} {baseline.tries:,} since the step began"
        return Verdict(outcome="waiting", reasons=(f"{told}; {criteria.requests:,} each are needed",))
    numbers = tuple(_numbers(evidence, canary, baseline))
    if min(canary.tries, baseline.tries) < DOUBTFUL and _doubtful(evidence, criteria, canary, baseline):
        return Verdict(outcome="waiting", reasons=(*numbers, "that may be chance or not: more requests will tell"))
    return Verdict(outcome="pass", reasons=numbers)


def _doubtful(evidence: Evidence, criteria: Criteria, canary: Count, baseline: Count) -> bool:
    """Whether the canary fails so often that chance is a poor excuse, though not yet none."""
    if canary.errors / canary.tries - baseline.errors / baseline.tries <= criteria.errors:
        return False
    return exact.chance(_stratum(one, "errors", 0) for one in evidence.slices) < DOUBT


def _crashes(evidence: Evidence) -> Iterable[str]:
    side, other = evidence.canary, evidence.baseline
    last = f", the last one with {side.last_exit}" if side.last_exit else ""
    if side.health == "crash-loop":
        yield f"{side.version} is in a crash loop: {side.deaths} workers died{last}"
    elif side.deaths - (other.deaths if other else 0) >= DEATHS:
        yield f"{side.deaths} workers of {side.version} died{last}"


def _checks(evidence: Evidence) -> Iterable[str]:
    return [f"check {check.name}: {check.said}" for check in evidence.checks if not check.ok]


def _failures(evidence: Evidence, criteria: Criteria, alpha: float) -> Iterable[str]:
    """Errors, dead letters and refusals, each by the exact test."""
    kinds: dict[str, tuple[str, list[Stratum]]] = {
        "errors": ("of {} failed", [_stratum(s, "errors", 0) for s in evidence.slices]),
        "dead": ("of {} were given up", [_stratum(s, "dead", 0) for s in evidence.slices]),
        "shed": ("of {} were refused under load", [_stratum(s, "shed", 1) for s in evidence.slices]),
    }
    for kind, (words, strata) in kinds.items():
        look = exact.worse(strata, alpha * _SHARES[kind], criteria.errors)
        if look is not None and evidence.baseline is not None:
            ours = f"{look.canary_hits:,} {words.format(f'{look.canary:,}')}"
            theirs = f"{look.baseline_hits:,} of {look.baseline:,}"
            yield (
                f"{ours} at {evidence.canary.version} ({_percent(look.canary_hits, look.canary)}), {theirs} at "
                f"{evidence.baseline.version} ({_percent(look.baseline_hits, look.baseline)}); by chance that happens "
                f"with a probability of {look.p:.1g}, {look.allowed:.1g} is allowed"
            )


def _stratum(of: Slice, what: str, beside: int) -> Stratum:
    """A slice as the test wants it; `beside` adds the hits to the tries."""
    ours, theirs = getattr(of.canary, what), getattr(of.baseline, what)
    return Stratum(
        max(of.canary.tries + beside * ours, ours), ours, max(of.baseline.tries + beside * theirs, theirs), theirs
    )


def _latency(evidence: Evidence, criteria: Criteria, alpha: float) -> Iterable[str]:
    """95th percentiles that are certainly too far apart, at the looks of the exact test."""
    budget = alpha * _SHARES["latency"] / len(_KINDS)
    for kind, word in _KINDS.items():
        if not any(kind in part.canary.latency for part in evidence.slices):
            continue
        canary = np.array([_histogram(part.canary, kind) for part in evidence.slices])
        baseline = np.array([_histogram(part.baseline, kind) for part in evidence.slices])
        sizes = np.minimum(canary.sum(axis=-1).cumsum(), baseline.sum(axis=-1).cumsum())
        for end, allowed in enumerate(exact.looks(sizes.tolist(), budget), 1):
            if not allowed:
                continue
            ours, theirs = canary[:end].sum(axis=0).tolist(), baseline[:end].sum(axis=0).tolist()
            low, high = at_least(ours, allowed / 2), at_most(theirs, allowed / 2)
            if low is not None and high is not None and low > high * criteria.latency + ABSOLUTE:
                assert evidence.baseline is not None
                yield (
                    f"{QUANTILE:.0%} of {word} take up to {_time(low)} or more at {evidence.canary.version} "
                    f"({sum(ours):,} measured), {_time(high)} or less at {evidence.baseline.version} ({sum(theirs):,})"
                )
                break


def at_least(counts: Sequence[int], alpha: float, q: float = QUANTILE) -> float | None:
    """What the q-quantile is not below, but for a chance of `alpha`; None if nothing can be said.

    The number of samples below the quantile is binomial: so the sample of a certain rank is below it with a certain
    chance. Of that sample its bucket is known, and of the bucket the lower bound is taken.
    """
    if not (total := sum(counts)):
        return None
    rank = exact.rank_below(total, q, alpha)
    return _edge(counts, rank, 0) if rank >= 1 else None


def at_most(counts: Sequence[int], alpha: float, q: float = QUANTILE) -> float | None:
    """What the q-quantile is not above, but for a chance of `alpha`; None if nothing can be said."""
    if not (total := sum(counts)):
        return None
    rank = exact.rank_above(total, q, alpha) + 1
    return _edge(counts, rank, 1) if rank <= total else None


def _edge(counts: Sequence[int], rank: int, upper: int) -> float | None:
    """A bound of the bucket that holds the sample of a rank (from 1); None for the upper one of what overflows."""
    edges = (0.0, *BUCKETS)
    for bucket, seen in enumerate(accumulate(counts)):
        if seen >= rank:
            return edges[bucket + upper] if bucket + upper < len(edges) else None
    return None


def _saturation(evidence: Evidence) -> Iterable[str]:
    """The canary has no room left where the baseline has."""
    ours, theirs = _total(evidence, "canary"), _total(evidence, "baseline")
    assert evidence.baseline is not None
    new, old = evidence.canary.version, evidence.baseline.version
    if ours.lags and theirs.lags:
        late, other = median(ours.lags), median(theirs.lags)
        if len(ours.lags) >= DEATHS and late >= LATE and late > 4 * other:
            yield f"the event loops of {new} run {_time(late)} late, those of {old} {_time(other)}"
    if min(ours.seconds, theirs.seconds) >= SEEN:
        busy, other = ours.cpu_s / ours.seconds, theirs.cpu_s / theirs.seconds
        if busy >= BUSY and busy > 1.5 * other:
            yield f"the workers of {new} use {busy:.0%} of a core, those of {old} {other:.0%}"


def _numbers(evidence: Evidence, canary: Count, baseline: Count) -> Iterable[str]:
    """What there is to say of a canary that is as good."""
    assert evidence.baseline is not None
    new, old = evidence.canary.version, evidence.baseline.version
    yield (
        f"{canary.errors:,} of {canary.tries:,} failed at {new} ({_percent(canary.errors, canary.tries)}), "
        f"{baseline.errors:,} of {baseline.tries:,} at {old} ({_percent(baseline.errors, baseline.tries)})"
    )
    for kind, word in _KINDS.items():
        ours, theirs = canary.latency.get(kind, ()), baseline.latency.get(kind, ())
        if sum(ours) and sum(theirs):
            mine, others = quantile(ours, QUANTILE), quantile(theirs, QUANTILE)
            yield f"{QUANTILE:.0%} of {word} take up to {_time(mine)} at {new}, {_time(others)} at {old}"
    for check in evidence.checks:
        yield f"check {check.name}: {check.said}"


def _measured(side: Side, count: Count) -> Measured:
    """The numbers of one side."""
    found = ((kind, counts, quantile(counts, QUANTILE)) for kind, counts in count.latency.items())
    doubt = (1 - CONFIDENCE) / 2
    return Measured(
        version=side.version,
        tries=count.tries,
        errors=count.errors,
        dead=count.dead,
        shed=count.shed,
        p95=tuple(
            P95(kind=kind, at=p95, low=at_least(counts, doubt), high=at_most(counts, doubt))
            for kind, counts, p95 in found
            if p95 is not None
        ),
    )


def _total(evidence: Evidence, side: Literal["canary", "baseline"]) -> Count:
    counts: list[Count] = [getattr(part, side) for part in evidence.slices]
    return Count(
        tries=sum(count.tries for count in counts),
        errors=sum(count.errors for count in counts),
        shed=sum(count.shed for count in counts),
        dead=sum(count.dead for count in counts),
        latency={kind: np.sum([_histogram(count, kind) for count in counts], axis=0).tolist() for kind in _KINDS}
        if counts
        else {},
        cpu_s=sum(count.cpu_s for count in counts),
        seconds=sum(count.seconds for count in counts),
        lags=[lag for count in counts for lag in count.lags],
    )


def _histogram(count: Count, kind: str) -> Sequence[int]:
    return count.latency.get(kind, EMPTY)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
