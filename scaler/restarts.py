"""Restart intensity: when to start a process again after its deaths, and when deaths are a crash loop. Pure.

As in OTP's supervisors, too many deaths within a window are a crash loop. Unlike them, Headway never stops trying: it
waits longer each time and reports it, so that the deployer can roll back. Only a process that died right after its
start makes the wait longer. One that had run for a while was probably killed by the system or by one message.

Workers (the scaler), control processes and the server (`headway up`) all back off by these rules.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

WINDOW: Final = 60.0
"""Seconds over which deaths are counted."""
INTENSITY: Final = 5
"""Deaths within the window that make a crash loop."""
STEADY: Final = 10.0
"""Seconds after which the death of a process no longer counts towards a crash loop."""
QUICK: Final = 2.0
"""Seconds before which the death of a process lengthens the wait for the next one."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0


class Death(NamedTuple):
    """When a process died (monotonic seconds), and for how many seconds it had run."""

    at: float
    lived: float


class RestartVerdict(NamedTuple):
    """What recent deaths mean.

    Attributes:
        health: as in `ScaleRecord`.
        deaths: number of deaths that count.
        retry_at: when the next process may be started, on the clock of the deaths; in the past if it may now.
    """

    health: Literal["ok", "restarting", "crash-loop"]
    deaths: int
    retry_at: float


def counts(lived: float) -> bool:
    """Return whether the death of a process that ran for `lived` seconds counts towards a crash loop."""
    return lived < STEADY


def delay(deaths: int) -> float:
    """Return the seconds to wait after a number of quick deaths: none after the first, then doubling."""
    return 0.0 if deaths <= 1 else min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(deaths - 2, 16))


def recent(deaths: Sequence[Death], now: float) -> tuple[Death, ...]:
    """Return the deaths within the window."""
    return tuple(one for one in deaths if one.at > now - WINDOW)


def judge(deaths: Sequence[Death], now: float, *, quick: float = QUICK) -> RestartVerdict:
    """Judge a group of processes by their deaths.

    Args:
        deaths: the deaths that count, in order.
        now: on the same clock.
        quick: seconds of life below which a death lengthens the wait.
    """
    found = recent(deaths, now)
    if not found:
        return RestartVerdict("ok", 0, now)
    health: Literal["restarting", "crash-loop"] = "crash-loop" if len(found) >= INTENSITY else "restarting"
    early = [one.at for one in found if one.lived < quick]
    return RestartVerdict(health, len(found), early[-1] + delay(len(early)) if early else now)


class Restarts:
    """The deaths of a process, or of a version's workers, and when the next one may be started.

    Args:
        quick: seconds of life below which a death lengthens the wait.
    """

    def __init__(self, quick: float = QUICK) -> None:
        self._quick = quick
        self._deaths: tuple[Death, ...] = ()

    def died(self, at: float, lived: float = 0.0) -> RestartVerdict:
        """Record a death, and return what all recent ones mean.

        Args:
        at: monotonic seconds.
        lived: seconds that the process had run.
        """
        if counts(lived):
            self._deaths = recent((*self._deaths, Death(at, lived)), at)
        return self.verdict(at)

    def verdict(self, now: float) -> RestartVerdict:
        """Judge the deaths so far."""
        return judge(self._deaths, now, quick=self._quick)


def cause(code: int | None) -> str:
    """Describe how a process ended.

    Args:
        code: as in subprocess: negative for the signal that killed it; None if unknown.
    """
    if code is None:
        return "nobody saw how"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
