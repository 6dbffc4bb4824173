"""A bare connection with somebody's credentials: it keeps to no rule of Headway's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client, RawCredentials

from headway.broker.broker import Broker
from headway.broker.identity import Credentials, user_of
from headway.broker.roles import ROLES, TEMPLATES, Role


class Attacker:
    """A connection that keeps what the server refused it.

    Attributes:
        nc: the connection.
        made: its credentials.
    """

    def __init__(self, nc: Client, made: Credentials, refused: list[str]) -> None:
        self.nc = nc
        self.made = made
        self._refused = refused

    async def may_publish(self, subject: str, payload: bytes = b"{}") -> bool:
        """Publish, and return whether the server allowed it."""
        self._refused.clear()
        await self.nc.publish(subject, payload)
        await self.settled()
        return not self._refused

    async def may_subscribe(self, subject: str, queue: str = "") -> bool:
        """Subscribe, and return whether the server allowed it."""
        self._refused.clear()
        subscription = await self.nc.subscribe(subject, queue=queue)
        await self.settled()
        allowed = not self._refused
        if allowed:
            await subscription.unsubscribe()
        return allowed

    async def settled(self) -> None:
        """Wait until the server has judged everything: nats-py's first ping overtakes what is buffered."""
        await self.nc.flush()
        await self.nc.flush()


class Connecting:
    """Connects with the credentials of a role, or with credentials that are given."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def __call__(self, role: Role, **bound: str) -> AsyncIterator[Attacker]:
        """Connect as a user of a role."""
        async with self.using(self._broker.identities.mint(role, **bound)) as made:
            yield made

    @asynccontextmanager
    async def using(self, made: Credentials) -> AsyncIterator[Attacker]:
        """Connect with the given credentials."""
        refused: list[str] = []

        async def on_error(error: Exception) -> None:
            if "permissions violation" in str(error).lower():
                refused.append(str(error))

        pages = {self._broker.identities.role_key(role) for role in ROLES if TEMPLATES[role].bearer_token}
        nc = await nats.connect(
            self._broker.ws_url if user_of(made.text).iss in pages else self._broker.url,
            user_credentials=RawCredentials(made.text),
            inbox_prefix=f"_INBOX.{made.public_key}",
            error_cb=on_error,
            allow_reconnect=False,
        )
        try:
            yield Attacker(nc, made, refused)
        finally:
            await nc.close()

    async def gets_in(self, made: Credentials, **options: Any) -> bool:
        """Return whether the server accepts the credentials on one of its listeners."""

        async def ignore(_error: Exception) -> None: ...

        given = options or {"user_credentials": RawCredentials(made.text)}
        for url in (self._broker.url, self._broker.ws_url):
            try:
                nc = await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=0, error_cb=ignore, **given)
            except (nats.errors.Error, TimeoutError, OSError):
                continue
            await nc.close()
            return True
        return False
