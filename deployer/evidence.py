"""The input of the judge for one step: counts of both versions in the same seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headway.control.counts import LAGS, NOTHING, Count, Tally

__all__ = ["LAGS", "NOTHING", "Checked", "Count", "Side", "Slice", "Tally"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Counts of both sides in the same seconds."""

    canary: Count = NOTHING
    baseline: Count = NOTHING


@dataclass(frozen=True, slots=True)
class Side:
    """The scaler's report on one side.

    Attributes:
        version: its label.
        health: as in `ScaleRecord`.
        deaths: workers that died lately.
        last_exit: how the last one died.
    """

    version: str
    health: Literal["ok", "restarting", "crash-loop"] = "ok"
    deaths: int = 0
    last_exit: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one of the user's checks.

    Attributes:
        ok: None if unknown: neither good nor bad.
    """

    name: str
    ok: bool | None
    said: str
