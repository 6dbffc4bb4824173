"""Connecting to the bus: addresses, credentials, and how a lost connection comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import nats.aio.client
import nkeys
from nats.aio.client import Server

from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, UsageError
from headway.bus.nats.refusals import is_unreachable

DEFAULT_URL = "nats://127.0.0.1:4222"
CONNECT_TIMEOUT = 5.0

_RECONNECT_DELAY = 0.05
_RECONNECT_DELAY_MAX = 2.0
_PING = 3
"""Seconds between two looks whether the server still answers. One that is frozen or cut off is left after three."""
_PENDING_BYTES = 8 << 20

_log = logging.getLogger("headway.bus")


async def connect(
    url: str | None = None,
    *,
    creds: str | Path | None = None,
    name: str = "headway",
    timeout: float = CONNECT_TIMEOUT,
) -> Bus:
    """Connect to the bus. A connection that is lost later comes back by itself, whenever the server does.

    Args:
        url: of the server, or several joined by commas; `HEADWAY_NATS_URL` and then `nats://127.0.0.1:4222` by default.
        creds: path of a credentials file, or its text; `HEADWAY_NATS_CREDS` by default.
        name: shown in the server's list of connections.
        timeout: seconds to try before giving up.

    Raises:
        ConnectionFailed: if no server is reached or it refuses us.
    """
    url = url or os.environ.get("HEADWAY_NATS_URL") or DEFAULT_URL
    given = creds if creds is not None else os.environ.get("HEADWAY_NATS_CREDS")
    options: dict[str, Any] = {}
    if given:
        text = _creds_text(given)
        options["user_credentials"] = nats.aio.client.RawCredentials(text)
        options["inbox_prefix"] = f"_INBOX.{_public_key(text)}"
    nc = nats.aio.client.Client()
    bus: Bus | None = None
    last: list[Exception] = []

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        if bus is not None:
            # While the server is away every try to reconnect fails; one line about the loss is enough.
            level = logging.WARNING if nc.is_connected else logging.DEBUG
            _log.log(level, "NATS: %s", str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        if bus is not None and not nc.is_closed:
            _log.warning("connection lost, reconnecting")

    async def on_reconnect() -> None:
        if bus is not None:
            bus.reconnected()

    async def on_closed() -> None:
        if bus is not None:
            bus.lost()

    # Not by asyncio.timeout: nats-py can lose a cancellation (bus/tasks.py), and would then go on trying for ever.
    connecting = asyncio.create_task(
        nc.connect(
            servers=url.split(","),
            name=name,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            closed_cb=on_closed,
            connect_timeout=2,
            reconnect_time_wait=_RECONNECT_DELAY,  # type: ignore[arg-type]  # seconds, fractions work
            max_reconnect_attempts=-1,
            reconnect_to_server_handler=reconnect_plan,
            ping_interval=_PING,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
            **options,
        )
    )
    try:
        done, _ = await asyncio.wait({connecting}, timeout=timeout)
    except asyncio.CancelledError:
        await _give_up(nc, connecting)
        raise
    error = connecting.exception() if done else TimeoutError()
    if error is not None:
        await _give_up(nc, connecting)
        if not is_unreachable(error):
            raise error
        cause = last[0] if last else error
        detail = str(cause) or type(cause).__name__
        refused = "the server does not take the credentials: have them made anew by whoever has the keys of it"
        raise ConnectionFailed(
            f"no connection to {url} within {timeout:g} s: {detail}",
            remedy=refused if "authorization violation" in detail.lower() else None,
        ) from error
    bus = Bus(nc)
    bus.again = partial(connect, url, creds=creds, name=name, timeout=timeout)
    return bus


async def _give_up(nc: nats.aio.client.Client, connecting: asyncio.Task[None]) -> None:
    """End a connection that is being made."""
    await tasks.end([connecting])
    if nc.options:  # it had begun
        await nc.close()


def reconnect_plan(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """Which server to try next and after how many seconds: any of the least tried, with growing, jittered waits.

    Without the jitter all workers of a restarted server would come back in the same instant.
    """
    fewest = min(server.reconnects for server in servers)
    server = random.choice([server for server in servers if server.reconnects == fewest])
    ceiling = min(_RECONNECT_DELAY_MAX, _RECONNECT_DELAY * 2 ** min(fewest, 10))
    return server, random.uniform(0, ceiling)


def _creds_text(given: str | Path) -> str:
    if isinstance(given, str) and "-----BEGIN" in given:
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise UsageError(
            f"cannot read the credentials {given}: {error.strerror}",
            remedy="HEADWAY_NATS_CREDS names a file made by `headway up`",
        ) from error


def _public_key(creds: str) -> str:
    """The user's public key: the subject of the private inboxes that its role may subscribe to."""
    lines = iter(creds.splitlines())
    for line in lines:
        if "BEGIN USER NKEY SEED" in line:
            pair = nkeys.from_seed(next(lines, "").strip().encode())
            return str(pair.public_key.decode())
    raise UsageError("the credentials hold no user seed", remedy="make them anew with `headway up`")
