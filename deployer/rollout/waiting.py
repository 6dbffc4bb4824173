"""Moves jobs that wait for their next attempt from one version to another.

The server holds a job in its back-off back from everybody, so pulling the queue does not find it (`takeover`). Its
record of attempts tells that it waits and for how long. So it is read from the stream, stored under the other
version's subject, and deleted, well before the server would deliver it again. All times are the server's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from nats.aio.msg import Msg

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, StoreError
from headway.bus.nats import jsapi, values
from headway.bus.wire import subjects
from headway.bus.worker.attempts import Attempts, AttemptsLog
from headway.deployer.rollout.takeover import moved, store_moved, target_subject, tenant_of

SOON: Final = 2.0
"""Seconds before its next attempt in which a job is left alone: a worker may get it while it is moved."""

_log = logging.getLogger("headway.deployer")


def waits(record: Attempts, stored: str, now: str, passed: float = 0.0) -> float:
    """Return for how many seconds a message is still held back; 0 if it is not, or unknown.

    Args:
        record: its record of attempts.
        stored: when that was stored (RFC 3339).
        now: a later time of the same kind.
        passed: seconds since then.
    """
    if record.running or record.cause or not record.delay or not stored:
        return 0.0
    since = (datetime.fromisoformat(now) - datetime.fromisoformat(stored)).total_seconds() + passed
    return max(0.0, record.delay - max(0.0, since))


async def move_waiting(
    bus: Bus,
    service: str,
    seal: str,
    source: str,
    target: str,
    lanes: Mapping[int, Mapping[str, Any]],
    seconds: float,
) -> int:
    """Move the jobs that wait for a retry; return how many were moved. Their attempts start anew.

    Args:
        bus: a connection in the control or operator role.
        service: name of the service.
        seal: its seal, which is part of its records' subjects.
        source: the version to move jobs from.
        target: the version to move them to.
        lanes: what the server has just said of the source's consumers.
        seconds: time limit; the rest is left for the next time.

    Raises:
        StoreError, ConnectionFailed: if the queue cannot be read.
    """
    log, until = AttemptsLog(bus.js, service, seal), time.monotonic() + seconds
    found = await asyncio.gather(
        *(
            _lane(bus, log, subjects.job_lane(service, source, lane), target, info, until)
            for lane, info in lanes.items()
            if info["num_ack_pending"]
        )
    )
    return sum(found)


async def _lane(bus: Bus, log: AttemptsLog, lane: str, target: str, info: Mapping[str, Any], until: float) -> int:
    """Move what waits in one lane: it is among what the server has delivered and that was not acknowledged."""
    began, count = time.monotonic(), 0
    stream, now = info["stream_name"], info["ts"]
    sequence, last = info["ack_floor"]["stream_seq"] + 1, info["delivered"]["stream_seq"]
    while sequence <= last and time.monotonic() < until:
        message = await values.following(bus.js, stream, lane, sequence)
        if message is None or (sequence := int((message.headers or {})[values.SEQUENCE])) > last:
            break
        try:
            record, stored = await log.stored(stream, sequence)
            if waits(record, stored, now, time.monotonic() - began) > SOON:
                await _move(bus, log, stream, sequence, message, target)
                count += 1
        except HeadwayError as error:
            _log.warning("%s %d waits for its retry where it is: %s", stream, sequence, error)
        sequence += 1
    return count


async def _move(bus: Bus, log: AttemptsLog, stream: str, sequence: int, message: Msg, target: str) -> None:
    """Store one message under the other version, and only then delete it. Raises as `Bus.store`."""
    said = message.headers or {}
    kept = {name: value for name, value in said.items() if name not in values.ADDED}
    sent = moved(kept, stream, sequence, tenant_of(message.subject), bus.ids)
    await store_moved(bus, target_subject(message.subject, target), message.data, sent)
    try:
        await jsapi.request(bus.nc, f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
    except StoreError as error:  # it has ended meanwhile
        _log.info("%s %d is moved, and was not deleted: %s", stream, sequence, error)
    await log.clear(stream, sequence)
