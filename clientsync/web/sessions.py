"""Sessions: a bearer user token of one user that ends soon; of the role browser, bound to a tenant, or console.

A page gets the next one at 80% of its life. Revoking voids all of a user's tokens on every server, which disconnects
whoever uses them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from headway.broker.broker import REVOKED_FOR, Broker
from headway.broker.identity import Credentials
from headway.broker.roles import TAGS, Role
from headway.bus.errors import ConfigError
from headway.clientsync.errors import NotSignedIn
from headway.clientsync.metrics import Metrics
from headway.clientsync.web.tokens import SignedIn

LIFETIME: Final = 600.0
"""Seconds that a session lasts unless its page renews it."""
_REFRESH: Final = 0.8
_SHORTEST: Final = 5.0
"""Seconds below which a session is not worth its connection."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a page is given.

    Attributes:
        jwt: a bearer token: who has it can connect.
        inbox: what the names of the page's inboxes have to begin with.
        expires, refresh_at: unix seconds.
    """

    jwt: str
    tenant: str
    user: str
    inbox: str
    expires: float
    refresh_at: float

    def shown(self, url: str) -> dict[str, Any]:
        """As it is sent.

        Args:
            url: of the websocket.
        """
        return {
            "jwt": self.jwt,
            "url": url,
            "tenant": self.tenant,
            "user": self.user,
            "inbox": self.inbox,
            "expires": int(self.expires),
            "refresh_at": int(self.refresh_at),
        }


class Sessions:
    """Opens and revokes them.

    Args:
        broker: has the keys.
        metrics: is told of each session, if there is any.
        lifetime: seconds.
        role: what pages may do with them.

    Raises:
        ConfigError: if sessions would outlive what is remembered of revocations.
    """

    def __init__(
        self, broker: Broker, metrics: Metrics | None = None, *, lifetime: float = LIFETIME, role: Role = "browser"
    ) -> None:
        if not _SHORTEST <= lifetime <= REVOKED_FOR:
            raise ConfigError(f"sessions of {lifetime:g} s", remedy=f"give {_SHORTEST:g} to {REVOKED_FOR} seconds")
        self._broker = broker
        self._metrics = metrics
        self._lifetime = lifetime
        self._role: Role = role

    def open(self, who: SignedIn) -> Session:
        """A session, which ends with the application's token at the latest.

        Raises:
            NotSignedIn: if that is too soon.
        """
        now = time.time()
        life = min(self._lifetime, who.expires - now)
        if life < _SHORTEST:
            raise NotSignedIn("the token is about to expire")
        made = self._mint(who, timedelta(seconds=life))
        if self._metrics is not None:
            self._metrics.opened()
        inbox = f"_INBOX.{made.public_key}"
        return Session(made.jwt, who.tenant, who.user, inbox, now + life, now + life * _REFRESH)

    async def revoke(self, who: SignedIn) -> None:
        """Void all sessions of a user.

        Raises:
            BrokerError, ConnectionFailed: if a server cannot be told.
        """
        await self._broker.revoke([self._mint(who, None).public_key])

    def _mint(self, who: SignedIn, expires: timedelta | None) -> Credentials:
        tenant = who.tenant if TAGS.get(self._role) == "tenant" else None
        return self._broker.identities.mint(self._role, tenant=tenant, person=who.user, expires=expires)
