"""Sessions: short-lived bearer tokens of one user, in the role browser (bound to a tenant) or console.

A page renews its session at 80% of its life. Lifetimes are sent as durations, since a browser's clock may be wrong.
Revoking voids all tokens of a user on every server, which closes their connections.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from headway.broker.broker import REVOKED_FOR, Broker
from headway.broker.identity import Credentials
from headway.broker.roles import TAGS, Role
from headway.bus.errors import ConfigError
from headway.clientsync.errors import NotSignedIn
from headway.clientsync.metrics import SyncMetrics
from headway.clientsync.proofs import Proofs
from headway.clientsync.web.tokens import SignedIn

LIFETIME: Final = 600.0
"""Seconds that a session lasts unless its page renews it."""
_REFRESH: Final = 0.8
_SHORTEST: Final = 5.0
"""Shortest life of a session in seconds."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as a page receives it.

    Attributes:
        jwt: a bearer token, which is sufficient to connect.
        proof: proof of the user, for services; empty for a session that calls none.
        inbox: the prefix of the page's inboxes.
        opened: when it was opened, in Unix seconds of this machine's clock.
        life: seconds that it lasts.
        refresh: seconds after which the page should renew it.
    """

    jwt: str
    proof: str
    tenant: str
    user: str
    inbox: str
    opened: float
    life: float
    refresh: float

    def shown(self, url: str) -> dict[str, Any]:
        """Return the answer to the page.

        Args:
            url: websocket URL for the page.
        """
        return {
            "jwt": self.jwt,
            "proof": self.proof,
            "url": url,
            "tenant": self.tenant,
            "user": self.user,
            "inbox": self.inbox,
            "expires_in": round(self.life, 3),
            "refresh_in": round(self.refresh, 3),
            "now": round(self.opened, 3),
            "expires": int(self.opened + self.life),
            "refresh_at": int(self.opened + self.refresh),
        }


class Sessions:
    """Opens and revokes sessions.

    Args:
        broker: signs and revokes tokens.
        metrics: counts sessions, if given.
        lifetime: seconds that a session lasts.
        role: role of the sessions, which sets their permissions.

    Raises:
        ConfigError: if the lifetime is too short, or longer than revocations are kept.
    """

    def __init__(
        self, broker: Broker, metrics: SyncMetrics | None = None, *, lifetime: float = LIFETIME, role: Role = "browser"
    ) -> None:
        if not _SHORTEST <= lifetime <= REVOKED_FOR:
            raise ConfigError(
                f"session lifetime of {lifetime:g} s", remedy=f"use {_SHORTEST:g} to {REVOKED_FOR} seconds"
            )
        self._broker = broker
        self._metrics = metrics
        self._lifetime = lifetime
        self._role: Role = role
        self._proofs = Proofs(broker.identities)

    def open(self, who: SignedIn) -> Session:
        """Open a session. It ends when the application's token does, at the latest.

        Raises:
            NotSignedIn: if the token is about to expire.
        """
        now = time.time()
        life = min(self._lifetime, who.expires - now)
        if life < _SHORTEST:
            raise NotSignedIn("the token is about to expire")
        life = math.floor(now + life) - now  # a token ends at a whole second
        made = self._mint(who, timedelta(seconds=life))
        if self._metrics is not None:
            self._metrics.opened()
        inbox = f"_INBOX.{made.public_key}"
        proof = self._proofs.of_session(who, made.public_key, round(now + life)) if self._role == "browser" else ""
        return Session(made.jwt, proof, who.tenant, who.user, inbox, now, life, life * _REFRESH)

    async def revoke(self, who: SignedIn) -> None:
        """Void all sessions of a user.

        Raises:
            BrokerError, ConnectionFailed: if a server cannot be reached.
        """
        await self._broker.revoke([self._mint(who, None).public_key])

    def _mint(self, who: SignedIn, expires: timedelta | None) -> Credentials:
        tenant = who.tenant if TAGS.get(self._role) == "tenant" else None
        return self._broker.identities.mint(self._role, tenant=tenant, person=who.user, expires=expires)
