"""The heartbeats of all workers, as they are heard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from headway.bus.wire.beat import Beat
from headway.scaler.health import IN_A_ROW


@dataclass(slots=True)
class Heard:
    """What one worker said: its last beats, and when the last one came (monotonic seconds)."""

    at: float
    beats: deque[Beat] = field(default_factory=lambda: deque(maxlen=IN_A_ROW))

    @property
    def last(self) -> Beat:
        """The last one."""
        return self.beats[-1]


class Beats:
    """What was heard of whom."""

    def __init__(self) -> None:
        self._heard: dict[str, Heard] = {}
        self.hearing_since = time.monotonic()
        """Since when we can hear without a break; silence before it is ours."""

    def reconnected(self) -> None:
        """Silence until now was ours; called by the bus, and by whoever finds that we were late ourselves."""
        self.hearing_since = time.monotonic()

    def hear(self, beat: Beat) -> None:
        """A worker has spoken."""
        if beat.state == "stopped":
            self.forget(beat.worker)
            return
        heard = self._heard.setdefault(beat.worker, Heard(0.0))
        heard.at = time.monotonic()
        heard.beats.append(beat)

    def of(self, worker: str) -> Heard | None:
        """What a worker said; None if nothing, or that it has stopped."""
        return self._heard.get(worker)

    def since(self, heard: Heard) -> float:
        """From when a worker's silence counts."""
        return max(heard.at, self.hearing_since)

    def everyone(self) -> Iterator[Heard]:
        """All that were heard and have not said that they stopped."""
        return iter(self._heard.values())

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._heard.pop(worker, None)
