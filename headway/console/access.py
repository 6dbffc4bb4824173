"""Operator access: by a role in the application's token, or by a code printed on the machine.

    viewer      sees everything, changes nothing
    operator    replays dead letters, steers rollouts
    admin       discards dead letters as well: what cannot be undone

`headway up` and `headway console` make codes, which needs an operator's credentials. A code is valid once, for a
limited time, and is exchanged for a token that lasts for a working day. Only digests of both are stored (in the
bucket `CONTROL`, where they expire by themselves), so every instance can check them and none can reveal them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from headway.bus.errors import Conflict
from headway.bus.wire.subjects import CONSOLE
from headway.clientsync.errors import NotAllowed, NotSignedIn
from headway.clientsync.web.tokens import SignedIn, Verifier, claim
from headway.control.records import Record
from headway.control.store import Control

CODE: Final = 3600.0
"""Seconds for which a code is valid."""
TOKEN: Final = 12 * 3600.0
"""Seconds for which a person who used a code stays signed in."""
ROLE_CLAIM: Final = "role"
Role = Literal["viewer", "operator", "admin"]
RANKS: Final[Mapping[Role, int]] = {"viewer": 0, "operator": 1, "admin": 2}
_MARK: Final = "hwop_"
"""Prefix of the console's own tokens; no JWT starts with it."""
_AGAIN: Final = "`headway console` prints a new address"


class Pass(Record):
    """What is stored of a code or token: its owner, until when (unix seconds), and the role.

    A record of an earlier version names no role; only the owner of an operator's credentials could make it.
    """

    by: str
    until: float
    role: Role = "admin"


@dataclass(frozen=True, slots=True)
class Roles:
    """Which of the application's tokens open the console, and what their owners may do.

    Attributes:
        claim: the claim that names roles or groups: one, or a list of them; `a.b` is b inside a.
        viewer, operator, admin: what it has to hold.
    """

    claim: str = ROLE_CLAIM
    viewer: str = "viewer"
    operator: str = "operator"
    admin: str = "admin"

    def of(self, claims: Mapping[str, Any]) -> Role | None:
        """Return the highest role that a token's claims give; None if they give none."""
        held = claim(claims, self.claim)
        named = held if isinstance(held, list) else [held]
        wanted: dict[Role, str] = {"admin": self.admin, "operator": self.operator, "viewer": self.viewer}
        return next((role for role, name in wanted.items() if name in named), None)


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody who uses the console.

    Attributes:
        who: the person.
        role: what they may do.
    """

    who: SignedIn
    role: Role

    def require(self, role: Role) -> None:
        """Check that the person has at least a role.

        Raises:
            NotAllowed: if not.
        """
        if RANKS[self.role] < RANKS[role]:
            raise NotAllowed(f"this needs the role {role}, yours is {self.role}", remedy="ask an administrator")


class Access:
    """Codes, and the tokens that they are exchanged for.

    Args:
        control: the records, by a connection in the role operator.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def code(self, by: str, lifetime: float = CODE, role: Role = "admin") -> str:
        """Make a code.

        Args:
            by: name recorded with the actions of its user.
            lifetime: whole seconds for which it is valid.
            role: what its user may do.

        Raises:
            MissingStream, NotStored: if it cannot be stored.
        """
        return await self._make("code", by, lifetime, role)

    async def exchange(self, code: str) -> str:
        """Exchange a code for a token, once.

        Raises:
            NotSignedIn: if it is invalid, used or expired.
        """
        key = _key("code", code)
        found = await self._control.get(key, Pass)
        if found is None or found.value.until <= time.time():
            raise NotSignedIn("this address was used already, or has expired", remedy=_AGAIN)
        try:
            await self._control.delete(key, expect=found.revision)
        except Conflict as error:
            raise NotSignedIn("this address was used already", remedy=_AGAIN) from error
        return _MARK + await self._make("operator", found.value.by, TOKEN, found.value.role)

    async def entrant(self, token: str, verifier: Verifier, roles: Roles | None) -> Entrant:
        """Return the owner of a token.

        Args:
            token: the console's own token, or the application's.
            verifier: checks the application's.
            roles: which of these open the console; None if none do.

        Raises:
            NotSignedIn: if it is invalid.
            NotAllowed: if its owner has no role.
            ConnectionFailed: if it cannot be checked now.
        """
        if token.startswith(_MARK):
            found = await self._control.get(_key("operator", token.removeprefix(_MARK)), Pass)
            if found is None or found.value.until <= time.time():
                raise NotSignedIn("you are signed out", remedy=_AGAIN)
            return Entrant(SignedIn(CONSOLE, found.value.by, found.value.until), found.value.role)
        if roles is None:
            raise NotAllowed("tokens of the development issuer do not open the console", remedy=_AGAIN)
        claims = await verifier.claims(token)
        role = roles.of(claims)
        if role is None:
            told = f"the token lacks {roles.viewer!r}, {roles.operator!r} and {roles.admin!r} in {roles.claim!r}"
            raise NotAllowed(
                f"the console is for operators: {told}",
                remedy="ask your administrator for one of these roles",
            )
        return Entrant(SignedIn(CONSOLE, verifier.user(claims), float(claims["exp"])), role)

    async def leave(self, token: str) -> None:
        """Revoke one of the console's own tokens; the application revokes its own."""
        if token.startswith(_MARK):
            await self._control.delete(_key("operator", token.removeprefix(_MARK)))

    async def _make(self, kind: str, by: str, lifetime: float, role: Role) -> str:
        secret = secrets.token_urlsafe(24)
        record = Pass(by=by, until=time.time() + lifetime, role=role)
        await self._control.put(_key(kind, secret), record, expect=0, ttl=lifetime)
        return secret


def _key(kind: str, secret: str) -> str:
    return f"{kind}.{hashlib.sha256(secret.encode()).hexdigest()}"
