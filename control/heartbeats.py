"""Heartbeats of all workers: one subscription shared by this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.wire.beat import Beat

ALL: Final = "beat.>"


@asynccontextmanager
async def heard(bus: Bus, *ears: Callable[[Beat], object]) -> AsyncIterator[None]:
    """Pass on each heartbeat while the context is open.

    Args:
        bus: a connection in the control or operator role.
        ears: called with each beat in the order given; must not block.
    """

    async def on_beat(message: Msg) -> None:
        try:
            beat = Beat.model_validate_json(message.data)
        except ValidationError:  # sent by a newer or older version: it is alive, but the message cannot be read
            return
        for ear in ears:
            ear(beat)

    subscription = await bus.nc.subscribe(ALL, cb=on_beat)
    try:
        yield
    finally:
        if not bus.nc.is_closed:
            await subscription.unsubscribe()
