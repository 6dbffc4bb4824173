"""The heartbeats of all workers, as they are heard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from bus.beat import Beat
from bus.client import Bus
from scaler.health import IN_A_ROW


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
    """Listens.

    Args:
        bus: a connection in the control or operator role.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: dict[str, Heard] = {}
        self._subscription: Subscription | None = None
        self.hearing_since = time.monotonic()
        """Since when we can hear without a break; silence before it is ours."""

    async def start(self) -> None:
        """Listen from now on."""
        self._bus.on_reconnect(self)
        self._subscription = await self._bus.nc.subscribe("beat.>", cb=self._on_beat)
        self.hearing_since = time.monotonic()

    async def stop(self) -> None:
        """Listen no more."""
        if self._subscription is not None and not self._bus.nc.is_closed:
            await self._subscription.unsubscribe()

    def reconnected(self) -> None:
        """The connection came back; called by the bus, and by whoever finds that we were late ourselves."""
        self.hearing_since = time.monotonic()

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

    async def _on_beat(self, message: Msg) -> None:
        try:
            beat = Beat.model_validate_json(message.data)
        except ValidationError:  # of a newer or an older worker: it beats, but we do not know what it says
            return
        if beat.state == "stopped":
            self.forget(beat.worker)
            return
        heard = self._heard.setdefault(beat.worker, Heard(0.0))
        heard.at = time.monotonic()
        heard.beats.append(beat)
