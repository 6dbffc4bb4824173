"""Watches a version without a baseline: does it fail more often than a bound? Pure.

If each request fails with a chance of at most `bound`, whatever it was at that time, the likelihood ratio of a higher
rate to the bound has at most mean 1, as in `worse`. It has a lower limit, which makes it a detector of changes:
from each low it reaches `e` with a chance of at most a tenth of `1/e` where the rate is just at the bound, and hardly
ever where it is at half of it.
"""

from __future__ import annotations

from math import log
from typing import Any, Final

from headway.deployer.analysis.urn import Stratum, log_mean

_HIGHER: Final = (1.5, 2.0, 3.0, 6.0, 12.0, 30.0)
"""Alternative odds of failing, as multiples of the bound's."""
_LEAST: Final = -2.3
"""Lower limit of the logarithm of the evidence: a long good time must not outweigh present failures."""
_STOPS: Final = log(10_000)
"""Evidence that rolls a release back. It can be reached repeatedly, so it is larger than for a comparison."""
_FEW: Final = 20
"""Requests below which no decision is made."""
_MOST: Final = 0.95
"""The highest bound: a version that always failed cannot fail more."""


class Above:
    """Evidence that a share of failures is above a bound.

    Args:
        bound: the acceptable share of failures, more than 0 and less than 1.
    """

    __slots__ = ("_logs", "bound", "hits", "tries")

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._logs = [0.0] * len(_HIGHER)
        self.hits = self.tries = 0

    def add(self, tries: int, hits: int) -> None:
        """Add the counts of a period."""
        self.tries += tries
        self.hits += hits
        odds = self.bound / (1 - self.bound)
        for number, times in enumerate(_HIGHER):
            rate = odds * times / (1 + odds * times)
            step = hits * log(rate / self.bound) + (tries - hits) * log((1 - rate) / (1 - self.bound))
            self._logs[number] = max(_LEAST, self._logs[number] + step)

    @property
    def log(self) -> float:
        """Return the natural logarithm of the evidence."""
        return log_mean(self._logs)

    def state(self) -> list[float]:
        """Return the state for a successor."""
        return [self.bound, self.tries, self.hits, *(round(one, 3) for one in self._logs)]

    @classmethod
    def restored(cls, state: Any) -> Above:
        """Restore what `state` returned. Raises `ValueError` or `TypeError` if it does not fit."""
        bound, tries, hits, *logs = map(float, state)
        if len(logs) != len(_HIGHER):
            raise ValueError("evidence of another kind")
        made = cls(bound)
        made.tries, made.hits, made._logs = int(tries), int(hits), logs
        return made


def bound_of(before: Stratum, ceiling: float) -> float:
    """Return the acceptable share of failures for a version that no longer has a baseline.

    Args:
        before: counts of both versions while they were compared.
        ceiling: the acceptable share without any data.
    """
    shares = [
        hits / tries
        for tries, hits in ((before.canary, before.canary_hits), (before.baseline, before.baseline_hits))
        if tries
    ]
    odds = 2 * max((share / (1 - share) for share in shares if share < 1), default=0.0)
    return min(_MOST, max(ceiling, odds / (1 + odds)))


def exceeded(found: Above, version: str) -> str | None:
    """Return that a version fails too often, in words; None if that is not proven."""
    if found.tries < _FEW or found.log < _STOPS:
        return None
    share = f"{found.hits:,} of {found.tries:,} failed at {version} since it has all traffic"
    return f"{share}; more than {found.bound:.0%} is too many, going by its own record"
