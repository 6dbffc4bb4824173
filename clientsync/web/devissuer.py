"""The development issuer: gives anybody a token for any tenant and user. For demos; it has to be switched on."""

from __future__ import annotations

import time
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm

from headway.bus.wire import subjects
from headway.clientsync.errors import BadRequest, NotSignedIn
from headway.clientsync.web.tokens import MAX_USER, Rules

ISSUER: Final = "headway-development"
AUDIENCE: Final = "headway"
LIFETIME: Final = 3600.0
"""Seconds that a token is good."""
_ALGORITHM: Final = "ES256"
_KID: Final = "development"


class DevelopmentIssuer:
    """Makes tokens with a key that lives as long as the process."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        public: dict[str, Any] = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._public = {**public, "kid": _KID, "alg": _ALGORITHM, "use": "sig"}

    @property
    def rules(self) -> Rules:
        """Which tokens are its."""
        return Rules(issuer=ISSUER, audience=AUDIENCE, algorithms=(_ALGORITHM,))

    @property
    def jwks(self) -> dict[str, Any]:
        """Its public key, as issuers publish them."""
        return {"keys": [self._public]}

    def token(self, tenant: Any, user: Any) -> str:
        """A token.

        Raises:
            BadRequest: if these cannot be a tenant and a user.
            InvalidSubject: if the tenant breaks the grammar, or is reserved.
        """
        if not isinstance(tenant, str) or not isinstance(user, str) or not 0 < len(user) <= MAX_USER:
            raise BadRequest("a tenant and a user are needed", remedy='send {"tenant": "acme", "user": "ada"}')
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + int(LIFETIME),
            "sub": user,
            "tenant": subjects.application_tenant(tenant),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": _KID})

    async def find(self, kid: str | None) -> PyJWK:
        """See `headway.clientsync.web.tokens.Keys`."""
        if kid != _KID:
            raise NotSignedIn("the token is not the development issuer's")
        return PyJWK.from_dict(self._public)
