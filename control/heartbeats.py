"""Heartbeats of all workers: one subscription shared by this process.

The server lets a worker publish on subjects of its own service only, so the subject says who it is, and a body that
disagrees is dropped. JetStream publishes whatever an asker wants on any subject, but never with an inbox as reply
subject: a heartbeat has one, although nobody replies.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import InvalidSubject
from headway.bus.wire import subjects
from headway.bus.wire.beat import Beat

ALL: Final = "beat.>"
_TELL: Final = 10.0
"""Minimum seconds between two log lines about heartbeats that are not believed."""

_log = logging.getLogger("headway.control")


@asynccontextmanager
async def heard(bus: Bus, *ears: Callable[[Beat], object]) -> AsyncIterator[Counter[str]]:
    """Pass on each heartbeat while the context is open.

    Args:
        bus: a connection in the control or operator role.
        ears: called with each beat in the order given; must not block.

    Yields:
        how many heartbeats were not believed, by the service that their subject names.
    """
    refused: Counter[str] = Counter()
    told = -_TELL

    def tell(message: Msg, why: str) -> None:
        nonlocal told
        service = message.subject.split(".")[1]
        refused[service] += 1
        if (now := time.monotonic()) - told >= _TELL:
            told = now
            count = sum(refused.values())
            _log.warning("a heartbeat on %s is not believed: %s (%d so far)", message.subject, why, count)

    async def on_beat(message: Msg) -> None:
        try:
            beat = Beat.model_validate_json(message.data)
        except ValidationError:  # sent by a newer or older version: it is alive, but the message cannot be read
            return
        if why := doubt(message.subject, message.reply, beat):
            tell(message, why)
            return
        for ear in ears:
            ear(beat)

    subscription = await bus.nc.subscribe(ALL, cb=on_beat)
    try:
        yield refused
    finally:
        if not bus.nc.is_closed:
            await subscription.unsubscribe()


def doubt(subject: str, reply: str, beat: Beat) -> str:
    """Return why a heartbeat is not believed; "" if it is."""
    if not subjects.is_inbox(reply):
        return "no worker of this version published it"
    try:
        named = subjects.parse_beat(subject)
    except InvalidSubject as error:
        return error.message
    if named != (beat.service, beat.version, beat.worker):
        return f"its body names {beat.worker} of {beat.service} {beat.version}"
    return ""
