"""Evidence that the canary is worse: an e-process that can be checked after every second, for ever. Pure.

For one odds ratio `psi` the product over strata of `psi^x / M(psi)` has mean 1 if the versions are equal, and at most 1
if the canary is better. So has a mean over several `psi`, fixed beforehand, and a mean over several beginnings. By
Ville's inequality such a process ever reaches `1/alpha` with a chance of at most `alpha`, however often it is checked
and whenever that ends. It continues when the weights change: each factor has its own counts. (Turner, Ly and
Gruenwald 2024; Grunwald, de Heide and Koolen 2024; docs/decisions/0022-proof-before-promotion.md.)
"""

from __future__ import annotations

from math import log
from typing import Any, Final

import numpy as np

from headway.deployer.analysis.urn import Floats, Stratum, log_moments, log_sum

_ODDS: Final = tuple(float(x) for x in np.exp(np.linspace(np.log(1.25), np.log(30), 16)))
"""Alternative odds ratios."""
_LOGS: Final = tuple(float(x) for x in np.log(_ODDS))
_LIKELY, _SPREAD, _ANY = np.log(2.4), 0.2, 0.03
"""Prior of the odds ratios: most bad releases fail a few times as often, so most of it is bell-shaped over the
logarithm, and a part is uniform. Chosen by simulation for the cases that are hardest to detect in time.
"""
_BELL: Final[Floats] = np.exp(-0.5 * ((np.array(_LOGS) - _LIKELY) / _SPREAD) ** 2)
_LOG_PRIOR: Final[Floats] = np.log((1 - _ANY) * _BELL / _BELL.sum() + _ANY / len(_LOGS))
FIRST: Final = 0.95
"""Share of the evidence collected since the beginning; the rest restarts with each step of the rollout."""
_X: Final[Floats] = np.array(_LOGS)


class Worse:
    """Evidence that the canary's share of hits is higher.

    Args:
        beginnings: steps of the rollout; each also starts its own process, so that early successes do not outweigh
            late failures.
    """

    __slots__ = ("_log", "_logs", "_shares")

    def __init__(self, beginnings: int = 1) -> None:
        rest = max(1, beginnings) - 1
        self._shares = (1.0,) if not rest else (FIRST, *((1 - FIRST) / rest,) * rest)
        self._logs: list[Floats] = [np.zeros(len(_LOGS))]
        self._log: float | None = 0.0

    def begin(self) -> None:
        """Start a new process beside the others."""
        if len(self._logs) < len(self._shares):
            self._logs.append(np.zeros(len(_LOGS)))
            self._log = None

    def add(self, stratum: Stratum) -> None:
        """Add a stratum."""
        hits = stratum.hits
        if hits and stratum.canary and stratum.baseline and hits < stratum.total:
            moments = log_moments(stratum.canary, stratum.baseline, hits, _LOGS)
            step = stratum.canary_hits * _X - moments
            self._logs = [one + step for one in self._logs]
            self._log = None

    @property
    def log(self) -> float:
        """Return the natural logarithm of the e-value."""
        if self._log is None:
            self._log = self._total()
        return self._log

    def _total(self) -> float:
        begun = zip(self._shares, self._logs, strict=False)
        rest = sum(self._shares[len(self._logs) :])  # a process that has not started counts as 1
        logs = [log(share) + log_sum((one + _LOG_PRIOR).tolist()) for share, one in begun]
        return log_sum([*logs, log(rest)] if rest > 0 else logs)

    def state(self) -> list[list[float]]:
        """Return the state for a successor."""
        return [[round(float(x), 3) for x in one] for one in self._logs]

    def restore(self, state: Any) -> None:
        """Restore what `state` returned. Raises `ValueError` if it does not fit."""
        logs = [np.array(one, dtype=float) for one in state]
        if not logs or any(one.shape != (len(_LOGS),) for one in logs):
            raise ValueError("evidence of another kind")
        self._logs = logs[: len(self._shares)]
        self._log = None
