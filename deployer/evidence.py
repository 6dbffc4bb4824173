"""What a step of a rollout is judged by: what both versions did in the same seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headway.control.counts import LAGS, NOTHING, Count, Tally

__all__ = ["LAGS", "NOTHING", "Checked", "Count", "Side", "Slice", "Tally"]


@dataclass(frozen=True, slots=True)
class Slice:
    """The same seconds of both sides."""

    canary: Count = NOTHING
    baseline: Count = NOTHING


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
    """The result of one of the user's checks.

    Attributes:
        ok: None if it could not be found out: that is neither good nor bad.
    """

    name: str
    ok: bool | None
    said: str
