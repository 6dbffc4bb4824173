"""Connect to the bus: addresses, credentials and reconnects."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import random
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import nats.aio.client
import nkeys
import orjson
from nats.aio.client import Server

from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.client.ids import MessageIds
from headway.bus.errors import ConnectionFailed, UsageError
from headway.bus.nats.internals import SturdyClient
from headway.bus.nats.refusals import is_unreachable
from headway.bus.wire import proof

DEFAULT_URL = "nats://127.0.0.1:4222"
CONNECT_TIMEOUT = 5.0

_RECONNECT_DELAY = 0.05
_RECONNECT_DELAY_MAX = 2.0
_PING = 3
"""Seconds between two pings of the server. After three unanswered pings the client reconnects."""
_PENDING_BYTES = 8 << 20
SEAL: Final = "seal"
"""Tag of a worker's token with the secret part of its service's subjects."""
_JWT: Final = re.compile(r"BEGIN NATS USER JWT-+\s*(\S+)")
_USER = "-----BEGIN NATS USER JWT-----"

_log = logging.getLogger("headway.bus")


async def connect(
    url: str | None = None,
    *,
    creds: str | Path | None = None,
    name: str = "headway",
    timeout: float = CONNECT_TIMEOUT,
) -> Bus:
    """Connect to the bus. A connection that is lost later is restored automatically.

    Args:
        url: the server's URL, or several joined by commas; default `HEADWAY_NATS_URL`, then `nats://127.0.0.1:4222`.
        creds: path of a credentials file, or its text; `HEADWAY_NATS_CREDS` by default.
        name: shown in the server's list of connections.
        timeout: seconds to try before giving up.

    Raises:
        ConnectionFailed: if no server is reached or it refuses the connection.
    """
    url = url or os.environ.get("HEADWAY_NATS_URL") or DEFAULT_URL
    given = creds if creds is not None else os.environ.get("HEADWAY_NATS_CREDS")
    own, inside = _users(creds_text(given)) if given else (None, None)
    bus = await _connect(url, own, name, timeout)
    if inside is not None:
        try:
            bus.attach(await _connect(url, inside, f"{name}-records", timeout))
        except BaseException:
            await bus.close()
            raise
    bus.again = partial(connect, url, creds=creds, name=name, timeout=timeout)
    return bus


def _users(creds: str) -> tuple[str, str | None]:
    """Split the text of credentials into its user and, if there is one, the user of control's account."""
    before, mark, rest = creds.partition(_USER)
    own, another, more = rest.partition(_USER)
    return before + mark + own, _USER + more if another else None


async def _connect(url: str, text: str | None, name: str, timeout: float) -> Bus:
    """Connect as one user; `text` is its token and key."""
    options: dict[str, Any] = {}
    ids = MessageIds()
    issuers: frozenset[str] = frozenset()
    if text is not None:
        ids, issuers = MessageIds.of(text), proof.issuers(text)
        options["user_credentials"] = nats.aio.client.RawCredentials(text)
        options["inbox_prefix"] = f"_INBOX.{_public_key(text)}"
    nc = SturdyClient()
    bus: Bus | None = None
    last: list[Exception] = []

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        if bus is not None:
            # Every attempt to reconnect fails while the server is down; one log line about the loss is enough.
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

    # No asyncio.timeout here: nats-py can lose a cancellation (bus/tasks.py) and would then keep trying forever.
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
        refused = "the server does not accept the credentials: have its operator issue new ones"
        raise ConnectionFailed(
            f"no connection to {url} within {timeout:g} s: {detail}",
            remedy=refused if "authorization violation" in detail.lower() else None,
        ) from error
    bus = Bus(nc, ids)
    bus.issuers = issuers
    bus.seal = _seal(text) if text is not None else ""
    return bus


async def _give_up(nc: nats.aio.client.Client, connecting: asyncio.Task[None]) -> None:
    """End a connection attempt."""
    await tasks.end([connecting])
    if nc.options:  # the attempt has started
        await nc.close()


def reconnect_plan(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """Choose the server to try next and the seconds to wait: a random one of those tried least often.

    The waits grow and are jittered: otherwise all workers of a restarted server would reconnect at the same moment.
    """
    fewest = min(server.reconnects for server in servers)
    server = random.choice([server for server in servers if server.reconnects == fewest])
    ceiling = min(_RECONNECT_DELAY_MAX, _RECONNECT_DELAY * 2 ** min(fewest, 10))
    return server, random.uniform(0, ceiling)


def creds_text(given: str | Path) -> str:
    """Return the text of credentials, given as a path or as that text.

    Raises:
        UsageError: if the file cannot be read.
    """
    if isinstance(given, str) and "-----BEGIN" in given:
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise UsageError(
            f"cannot read the credentials {given}: {error.strerror}",
            remedy="set HEADWAY_NATS_CREDS to a file that `headway up` has created",
        ) from error


def _seal(creds: str) -> str:
    """Return the secret in the subjects that belong to the workers of a service alone; "" for other users."""
    found = _JWT.search(creds)
    try:
        payload = found[1].split(".")[1] if found is not None else ""
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        tags = [tag.partition(":") for tag in claims["nats"].get("tags", [])]
    except (ValueError, KeyError, IndexError, AttributeError):
        return ""  # the server says what is wrong with them
    return next((value for name, _, value in tags if name == SEAL), "")


def _public_key(creds: str) -> str:
    """Return the user's public key, which is part of its private inboxes' subjects."""
    lines = iter(creds.splitlines())
    for line in lines:
        if "BEGIN USER NKEY SEED" in line:
            pair = nkeys.from_seed(next(lines, "").strip().encode())
            return str(pair.public_key.decode())
    raise UsageError("the credentials contain no user seed", remedy="create them again with `headway up`")
