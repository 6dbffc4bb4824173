"""Operator access: by a role in the application's token, or by a code printed on the machine.

`headway up` and `headway console` make codes, which needs an operator's credentials. A code is valid once, for a
limited time, and is exchanged for a token that lasts for a working day. Only digests of both are stored (in the
bucket `CONTROL`, where they expire by themselves), so every instance can check them and none can reveal them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Final

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
ROLE: Final = "operator"
_MARK: Final = "hwop_"
"""Prefix of the console's own tokens; no JWT starts with it."""
_AGAIN: Final = "`headway console` prints a new address"


class Pass(Record):
    """What is stored of a code or token: its owner, and until when (unix seconds)."""

    by: str
    until: float


@dataclass(frozen=True, slots=True)
class Roles:
    """Which of the application's tokens belong to operators.

    Attributes:
        claim: the claim that names roles: one, or a list of them; `a.b` is b inside a.
        operator: the required role.
    """

    claim: str = ROLE_CLAIM
    operator: str = ROLE


class Access:
    """Codes, and the tokens that they are exchanged for.

    Args:
        control: the records, by a connection in the role operator.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def code(self, by: str, lifetime: float = CODE) -> str:
        """Make a code.

        Args:
            by: name recorded with the actions of its user.
            lifetime: whole seconds for which it is valid.

        Raises:
            MissingStream, NotStored: if it cannot be stored.
        """
        return await self._make("code", by, lifetime)

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
        return _MARK + await self._make("operator", found.value.by, TOKEN)

    async def operator(self, token: str, verifier: Verifier, roles: Roles | None) -> SignedIn:
        """Return the owner of a token.

        Args:
            token: the console's own token, or the application's.
            verifier: checks the application's.
            roles: which of these belong to operators; None if none do.

        Raises:
            NotSignedIn: if it is invalid.
            NotAllowed: if its owner is not an operator.
            ConnectionFailed: if it cannot be checked now.
        """
        if token.startswith(_MARK):
            found = await self._control.get(_key("operator", token.removeprefix(_MARK)), Pass)
            if found is None or found.value.until <= time.time():
                raise NotSignedIn("you are signed out", remedy=_AGAIN)
            return SignedIn(CONSOLE, found.value.by, found.value.until)
        if roles is None:
            raise NotAllowed("tokens of the development issuer do not open the console", remedy=_AGAIN)
        claims = await verifier.claims(token)
        named = claim(claims, roles.claim)
        if roles.operator not in (named if isinstance(named, list) else [named]):
            told = f"the token lacks {roles.operator!r} in {roles.claim!r}"
            raise NotAllowed(
                f"the console is for operators: {told}",
                remedy="ask your administrator for that role",
            )
        return SignedIn(CONSOLE, verifier.user(claims), float(claims["exp"]))

    async def leave(self, token: str) -> None:
        """Revoke one of the console's own tokens; the application revokes its own."""
        if token.startswith(_MARK):
            await self._control.delete(_key("operator", token.removeprefix(_MARK)))

    async def _make(self, kind: str, by: str, lifetime: float) -> str:
        secret = secrets.token_urlsafe(24)
        record = Pass(by=by, until=time.time() + lifetime)
        await self._control.put(_key(kind, secret), record, expect=0, ttl=lifetime)
        return secret


def _key(kind: str, secret: str) -> str:
    return f"{kind}.{hashlib.sha256(secret.encode()).hexdigest()}"
