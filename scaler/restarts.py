"""Restart intensity: how soon a worker is started after others died, and when deaths are a crash loop. Pure.

As OTP's supervisors have it, a number of deaths within a window is too many; unlike them we go on trying, more and
more slowly, and say so: the deployer may take the version back. A worker that had served for a while before it died is
no sign of a crash loop. And what is waited for is that starting costs the others nothing: only deaths soon after the
start make the waiting longer, not what the system or a poisonous message kills now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

WINDOW: Final = 60.0
"""Seconds over which deaths are counted."""
INTENSITY: Final = 5
"""Deaths in the window that make a crash loop."""
STEADY: Final = 10.0
"""Seconds after which a worker that ran is no part of a crash loop."""
QUICK: Final = 2.0
"""Seconds after which a worker that ran was worth starting."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0


class Death(NamedTuple):
    """When a worker died, and for how many seconds it had run."""

    at: float
    lived: float


class Verdict(NamedTuple):
    """What deaths mean.

    Attributes:
        health: as in `ScaleRecord`.
        deaths: that count.
        retry_at: when the next worker may be started, on the clock of the deaths; in the past if it may now.
    """

    health: Literal["ok", "restarting", "crash-loop"]
    deaths: int
    retry_at: float


def counts(lived: float) -> bool:
    """Whether the death of a worker that had run for `lived` seconds is part of a crash loop."""
    return lived < STEADY


def delay(deaths: int) -> float:
    """Seconds to wait after so many deaths: none after the first, then doubling."""
    return 0.0 if deaths <= 1 else min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(deaths - 2, 16))


def recent(deaths: Sequence[Death], now: float) -> tuple[Death, ...]:
    """The deaths that still count."""
    return tuple(one for one in deaths if one.at > now - WINDOW)


def judge(deaths: Sequence[Death], now: float) -> Verdict:
    """Judge a version by its workers' deaths.

    Args:
        deaths: those that count, in order.
        now: on the same clock.
    """
    found = recent(deaths, now)
    if not found:
        return Verdict("ok", 0, now)
    health: Literal["restarting", "crash-loop"] = "crash-loop" if len(found) >= INTENSITY else "restarting"
    quick = [one.at for one in found if one.lived < QUICK]
    return Verdict(health, len(found), quick[-1] + delay(len(quick)) if quick else now)
