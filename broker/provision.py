"""Create the shared streams of an installation, in the application account and in control's.

An installation of an earlier version has its control records in the application account. They are moved from there.
"""

from __future__ import annotations

import logging
from typing import Final

from headway.bus.client.bus import Bus
from headway.bus.errors import Conflict, MissingStream
from headway.bus.nats import jsapi, streams, values
from headway.bus.nats.streams import CONTROL

_log = logging.getLogger("headway.broker")

_PREFIX: Final = "$KV.CONTROL."
_LEFT: Final = frozenset({"lease", "probe", "code", "operator"})
"""Families of records that are not moved. Leases are taken again, probes expire, and people sign in to the console
again: its codes and tokens were where others could write.
"""
_OPERATION: Final = "KV-Operation"


async def create_streams(bus: Bus, replicas: int | None = None) -> None:
    """Create the shared streams, or change them to their declarations; move the control records of an earlier version.

    Args:
        bus: a connection in the control or operator role.
        replicas: number of replicas of these and all job streams from now on; None keeps those of existing streams.

    Raises:
        StoreError, ConnectionFailed: as `headway.bus.nats.streams.ensure`.
    """
    await streams.provision(bus.js, replicas)
    await streams.provision_control(bus.records.js, replicas or await streams.copies(bus.js))
    await move_records(bus)


async def move_records(bus: Bus) -> None:
    """Move the control records from the application account. If it is interrupted, the next call does the rest.

    What was written in the new place since is newer, and stays. The old stream is deleted once all is moved.

    Args:
        bus: a connection in the control or operator role; control's account has its streams.

    Raises:
        StoreError, ConnectionFailed: if a record cannot be read or written.
    """
    moved = 0
    try:
        async for message in values.since(bus.js, CONTROL, f"{_PREFIX}>"):
            fields = message.headers or {}
            subject = fields[values.SUBJECT]
            if subject.removeprefix(_PREFIX).partition(".")[0] in _LEFT or fields.get(_OPERATION):
                continue
            try:
                await values.write(bus.records.js, CONTROL, subject, message.data, {}, 0)
                moved += 1
            except Conflict:
                continue
        await jsapi.request(bus.nc, f"STREAM.DELETE.{CONTROL}")
    except MissingStream:
        return
    _log.info("%d control records moved to control's account", moved)
