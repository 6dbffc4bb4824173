"""Whether the evidence against a release comes from one tenant alone. Pure.

A tenant chooses what it sends, and may have found requests that only the new version refuses. So a release is taken
back only if the evidence also stands without the tenant that adds most to it. That a person decides otherwise.
"""

from __future__ import annotations

import math
from typing import Final

from headway.deployer.analysis.analysis import Analysis, AnalysisDecision
from headway.deployer.analysis.urn import Stratum
from headway.deployer.analysis.worse import Worse

_OF_TENANTS: Final = frozenset({"errors", "look", "operations", "tenants", "rejected"})
"""Series to which each tenant's part is known."""
_STANDS: Final = 0.5
"""Fraction of the stopping evidence, in logarithms, that the other tenants have to show."""


def depends_on(analysis: Analysis, decision: AnalysisDecision) -> str | None:
    """Return the tenant without whom a decision to stop would not stand; None if there is none.

    Args:
        analysis: the evidence.
        decision: what was decided from it.
    """
    if decision.outcome != "stop" or any(one.kind not in _OF_TENANTS for one in decision.findings):
        return None
    kind = "rejected" if all(one.kind == "rejected" for one in decision.findings) else "errors"
    tenants, total = analysis.of_tenants(kind), analysis.totals(kind)
    if len(tenants) < 2 or not total.total:
        return None
    share = total.hits / total.total
    most = max(tenants, key=lambda name: tenants[name].canary_hits - tenants[name].canary * share)
    rest = _without(total, tenants[most])
    needed = _STANDS * math.log(1 / analysis.criteria.alpha)
    return None if _evidence(rest) >= needed else most


def _without(total: Stratum, part: Stratum) -> Stratum:
    """Return the counts of the others. They may be a few requests apart, since both are closed in batches."""
    canary, baseline = max(0, total.canary - part.canary), max(0, total.baseline - part.baseline)
    canary_hits = min(canary, max(0, total.canary_hits - part.canary_hits))
    return Stratum(canary, canary_hits, baseline, min(baseline, max(0, total.baseline_hits - part.baseline_hits)))


def _evidence(counts: Stratum) -> float:
    """Return the logarithm of the e-value of some counts; nothing if the canary's share of hits is not higher."""
    if counts.canary_hits * counts.baseline <= counts.baseline_hits * counts.canary:
        return -math.inf
    worse = Worse()
    worse.add(counts)
    return worse.log
