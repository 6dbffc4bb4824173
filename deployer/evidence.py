"""What a step of a rollout is judged by: what both versions did in the same seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from headway.bus.telemetry.histogram import BUCKETS

EMPTY: Final[Sequence[int]] = (0,) * (len(BUCKETS) + 1)
"""A histogram without samples."""

LAGS: Final = 200
"""Lags kept of a slice: enough for their median. A step may be judged for days, by any number of workers."""


@dataclass(frozen=True, slots=True)
class Count:
    """What the workers of one side did in a slice of time.

    Attributes:
        tries: calls, jobs and events that ended, well or not.
        errors: those that did not end well.
        shed: calls refused because the worker was full; not among the tries.
        dead: work that was given up.
        latency: per kind, counts per bucket of `headway.bus.telemetry.histogram.BUCKETS`.
        cpu_s: CPU seconds.
        seconds: seconds of workers' lives.
        lags: how late event loops were, of up to `LAGS` heartbeats.
    """

    tries: int = 0
    errors: int = 0
    shed: int = 0
    dead: int = 0
    latency: Mapping[str, Sequence[int]] = field(default_factory=dict)
    cpu_s: float = 0.0
    seconds: float = 0.0
    lags: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """The same seconds of both sides."""

    canary: Count = Count()
    baseline: Count = Count()


@dataclass(frozen=True, slots=True)
class Side:
    """What the scaler says of one side.

    Attributes:
        version: its label.
        health: as in `ScaleRecord`.
        deaths: workers that died lately.
        last_exit: how the last one did.
    """

    version: str
    health: Literal["ok", "restarting", "crash-loop"] = "ok"
    deaths: int = 0
    last_exit: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one of the user's checks."""

    name: str
    ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a step is judged by.

    Attributes:
        canary: the new version.
        baseline: the old one; None when there is none that has traffic.
        slices: in the order of time.
        checks: the user's.
    """

    canary: Side
    baseline: Side | None
    slices: Sequence[Slice] = ()
    checks: Sequence[Checked] = ()
