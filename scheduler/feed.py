"""Reads when every job for later is due, and each new one as it is stored.

Only headers are sent, by a consumer of one replica's memory that needs no acknowledgements. When anything is in doubt
(a reconnect, silence, an election), another consumer continues after the last message that was read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from nats.aio.msg import Msg

from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import ConnectionFailed, HeadwayError
from headway.bus.nats import direct, jsapi
from headway.bus.nats.delivery import read
from headway.bus.nats.streams import LATER
from headway.bus.wire import headers

BATCH: Final = 2_000
"""Messages of one pull."""
_EXPIRES: Final = 5.0
_HEARTBEAT: Final = 0.5
_SILENCE: Final = 2.0
"""Seconds without a message or heartbeat after which the consumer counts as lost."""
_FORGOTTEN: Final = 10.0
"""Seconds after which the server removes a consumer that nobody pulls from."""
_AGAIN: Final = 0.25
_HEARTBEAT_STATUS: Final = "100"
_ENDED: Final = frozenset({"404", "408"})
"""Statuses that end a pull in the ordinary way."""

_log = logging.getLogger("headway.scheduler")


class LaterFeed:
    """Follows the stream `LATER`.

    Args:
        bus: a connection in the control or operator role.
        found: called with each message's sequence, subject and due time (unix milliseconds; 0 if it has none).
        restarted: called when the stream was replaced and is read from its beginning.
    """

    def __init__(self, bus: Bus, found: Callable[[int, str, int], None], restarted: Callable[[], None]) -> None:
        self._bus = bus
        self._found = found
        self._restarted = restarted
        self._created = ""
        self._position = 0
        self._stale = False
        self._left = 0
        self._heard = 0.0
        self._turn = asyncio.Event()
        self._lost = ""

    def reconnected(self) -> None:
        """Continue with another consumer: messages may be lost on the way. The bus calls this."""
        self._stale = True
        self._turn.set()

    async def run(self) -> None:
        """Follow the stream until cancelled."""
        self._bus.on_reconnect(self)
        told = False
        while True:
            try:
                await self._follow()
                told = False
            except HeadwayError as error:
                if not told:
                    _log.warning("jobs for later cannot be read, trying again: %s", error)
                told = True
                await asyncio.sleep(_AGAIN)

    async def _follow(self) -> None:
        """Read with one consumer until it is in doubt."""
        nc = self._bus.nc
        self._stale, self._lost = False, ""
        await self._find_position()
        inbox, name = nc.new_inbox(), f"scheduler-{unique_id()}"
        subscription = await direct.subscribe(nc, inbox, self._take)
        try:
            await jsapi.request(nc, f"CONSUMER.CREATE.{LATER}.{name}", _consumer(name, self._position + 1))
            while not self._stale:
                self._left, self._heard = BATCH, time.monotonic()
                self._turn.clear()
                ask = {"batch": BATCH, "expires": int(_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}
                await self._bus.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{LATER}.{name}", orjson.dumps(ask), reply=inbox)
                await self._until_ended()
        finally:
            if not nc.is_closed:
                await subscription.unsubscribe()

    async def _until_ended(self) -> None:
        """Wait until a pull has ended. Raises `ConnectionFailed` if the consumer is lost."""
        while not self._turn.is_set():
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await self._turn.wait()
            except TimeoutError:
                if time.monotonic() - self._heard > _SILENCE:
                    raise ConnectionFailed(f"stream {LATER}: its consumer is silent") from None
        if self._lost:
            raise ConnectionFailed(f"stream {LATER}: {self._lost}")

    async def _find_position(self) -> None:
        """Start from the beginning if the stream is another one, or an older copy of it."""
        info = await jsapi.request(self._bus.nc, f"STREAM.INFO.{LATER}")
        if info["created"] != self._created or int(info["state"]["last_seq"]) < self._position:
            self._created, self._position = info["created"], 0
            self._restarted()

    def _take(self, message: Msg) -> None:
        self._heard = time.monotonic()
        fields = message.headers or {}
        status = fields.get(headers.STATUS)
        if status is not None:
            if status == _HEARTBEAT_STATUS:
                return
            if status not in _ENDED:
                self._lost = f"{status} {fields.get(headers.DESCRIPTION, '')}"
            self._turn.set()
            return
        delivery = read(message.reply)
        if delivery is None:
            return
        if delivery.sequence > self._position:
            self._position = delivery.sequence
            self._found(delivery.sequence, message.subject, headers.at_of(fields) or 0)
        self._left -= 1
        if self._left <= 0:
            self._turn.set()


def _consumer(name: str, start: int) -> dict[str, Any]:
    return {
        "stream_name": LATER,
        "config": {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "replay_policy": "instant",
            "headers_only": True,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(_FORGOTTEN * 1e9),
        },
    }
