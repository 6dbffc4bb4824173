"""Diagnoses workers from their heartbeats or missing heartbeats. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from headway.bus.wire.beat import Beat
from headway.control.fleet import SILENCE

NOBODY: Final = 1.5
"""Seconds without any worker's heartbeat, after which silence says nothing about single workers."""
START_TIMEOUT: Final = 30.0
"""Seconds that a worker has until its first heartbeat."""
STUCK: Final = 1.5
"""Seconds by which an event loop may wake up late."""
IN_A_ROW: Final = 3
"""Consecutive heartbeats that must report a problem: one slow second is normal."""

Kind = Literal["silent", "stuck", "hung", "unhealthy", "memory", "outdated"]


class Vitals(NamedTuple):
    """The heartbeats of a worker.

    Attributes:
        worker: its id.
        started: when it was started, on the clock of `heard`.
        heard: when its last heartbeat came, or when listening restarted if that was later; None before the first.
        beats: its last heartbeats, oldest first.
    """

    worker: str
    started: float
    heard: float | None
    beats: tuple[Beat, ...]


class Sickness(NamedTuple):
    """Why a worker has to be replaced. A silent worker would not receive the order to drain."""

    kind: Kind
    reason: str


def diagnose(seen: Vitals, now: float, *, memory: int | None = None) -> Sickness | None:
    """Return why a worker has to be replaced; None if it is healthy.

    Args:
        seen: what is known of it.
        now: on its clock.
        memory: resident bytes it may have.
    """
    if seen.heard is None:
        waited = now - seen.started
        if waited < START_TIMEOUT:
            return None
        return Sickness("silent", f"it has not begun to serve within {START_TIMEOUT:g} s")
    silence = now - seen.heard
    if silence >= SILENCE:
        return Sickness("silent", f"no heartbeat for {silence:.1f} s")
    last = seen.beats[-IN_A_ROW:]
    if len(last) < IN_A_ROW:
        return None
    if all(beat.loop_lag_s > STUCK for beat in last):
        return Sickness("stuck", f"its event loop is {last[-1].loop_lag_s:.1f} s late, {IN_A_ROW} times in a row")
    if all(beat.hung for beat in last):
        return Sickness("hung", f"{last[-1].hung} handlers go on after their timeout")
    if not any(beat.healthy for beat in last):
        return Sickness("unhealthy", f"its health check failed {IN_A_ROW} times in a row")
    if memory is not None and all(beat.rss_bytes > memory for beat in last):
        return Sickness("memory", f"it uses {last[-1].rss_bytes / 1e6:,.0f} MB of {memory / 1e6:,.0f} MB")
    return None


def outdated(running: str | None, wanted: str) -> Sickness | None:
    """Return why a healthy worker has to be replaced if it runs another revision of its working tree.

    Args:
        running: its revision; None if that is unknown.
        wanted: the version's revision.
    """
    return None if running in {None, wanted} else Sickness("outdated", "its code was edited")


def deaf(everyone: Iterable[Vitals], now: float) -> bool:
    """Return whether this process receives no heartbeats: several workers should beat, and none did recently.

    Workers that were only just started are not expected to beat yet.

    Args:
        everyone: what is known of all workers, of any service.
        now: on their clock.
    """
    heard = [
        one.started if one.heard is None else one.heard
        for one in everyone
        if one.heard is not None or now - one.started >= START_TIMEOUT
    ]
    return len(heard) > 1 and now - max(heard) >= NOBODY
