"""Pauses delivery, so that for a moment no job or event is being processed.

A job's handler stores its effects, then the job is acknowledged and removed. Streams are saved one after another, so
with an acknowledgement in between the backup could lack both a job and its effect. Therefore nothing is delivered
while the queues are saved: their consumers are paused, and work in progress gets some time to finish. If this process
dies, the pause ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from headway import status
from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats import jsapi
from headway.bus.tasks import end

HOLD: Final = 60.0
"""Seconds after which a pause ends by itself unless it is renewed."""
_RENEW: Final = 20.0
_ARRIVE: Final = 0.2
"""Seconds until messages delivered before the pause have reached their worker."""
_AT_ONCE: Final = 32
"""Concurrent requests."""

Consumer = tuple[str, str]
"""A stream and its consumer, by name."""


@asynccontextmanager
async def quiet(bus: Bus, streams: Iterable[str], settle: float) -> AsyncIterator[bool]:
    """Pause the delivery of some streams inside the block.

    Args:
        bus: an operator's connection.
        streams: their names.
        settle: seconds to finish work in progress.

    Yields:
        whether no work is in progress any more. Unfinished work runs again after a restore.

    Raises:
        StoreError, ConnectionFailed: if the consumers cannot be paused, or not be kept paused.
    """
    consumers = [one for stream in streams for one in await _running(bus, stream)]
    keeping = asyncio.ensure_future(_keep_paused(bus, consumers))
    try:
        await _each(bus, consumers, HOLD)
        await asyncio.sleep(_ARRIVE)
        yield await _settled(bus, settle)
        if keeping.done():
            keeping.result()  # raises if the pause could not be renewed: it may have ended too early
    finally:
        await end([keeping])
        if bus.nc.is_connected:  # without the server the pause ends by itself
            with contextlib.suppress(HeadwayError):
                await _each(bus, consumers, None)


async def resume(bus: Bus, stream: str) -> None:
    """End the pauses that were active during a snapshot; longer ones, set by an operator, stay.

    Raises:
    StoreError, ConnectionFailed: as `headway.bus.nats.jsapi.request`.
    """
    found, _ = await jsapi.listed(bus.nc, f"CONSUMER.LIST.{stream}", "consumers")
    ours = [(stream, one["name"]) for one in found if one.get("paused") and one.get("pause_remaining", 0) <= HOLD * 1e9]
    await _each(bus, ours, None)


async def _running(bus: Bus, stream: str) -> list[Consumer]:
    """Return the consumers of a stream that are not paused by somebody else."""
    found, _ = await jsapi.listed(bus.nc, f"CONSUMER.LIST.{stream}", "consumers")
    return [(stream, one["name"]) for one in found if not one.get("paused")]


async def _keep_paused(bus: Bus, consumers: list[Consumer]) -> None:
    while True:
        await asyncio.sleep(_RENEW)
        await _each(bus, consumers, HOLD)


async def _each(bus: Bus, consumers: list[Consumer], seconds: float | None) -> None:
    """Pause consumers for some seconds, or resume them."""
    slots = asyncio.Semaphore(_AT_ONCE)
    until = None if seconds is None else (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    async def one(stream: str, consumer: str) -> None:
        async with slots:
            what = f"CONSUMER.PAUSE.{stream}.{consumer}"
            await jsapi.request(bus.nc, what, {} if until is None else {"pause_until": until})

    await asyncio.gather(*(one(*consumer) for consumer in consumers))


async def _settled(bus: Bus, settle: float) -> bool:
    """Wait until no worker has work in progress; return False if that takes too long."""
    clock = asyncio.get_running_loop().time
    until = clock() + settle
    while True:
        if not any(beat.in_hand for beat in await status.listen(bus)):
            return True
        if clock() >= until:
            return False
