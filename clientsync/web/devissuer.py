"""The development issuer: issues tokens for any tenant and user to anybody. For demos; off by default."""

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
"""Seconds that a token is valid."""
_ALGORITHM: Final = "ES256"
_KID: Final = "development"


class DevelopmentIssuer:
    """Issues tokens with a key that exists as long as the process."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        public: dict[str, Any] = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._public = {**public, "kid": _KID, "alg": _ALGORITHM, "use": "sig"}

    @property
    def rules(self) -> Rules:
        """The rules that its tokens satisfy."""
        return Rules(issuer=ISSUER, audience=AUDIENCE, algorithms=(_ALGORITHM,))

    @property
    def jwks(self) -> dict[str, Any]:
        """Its public key as a JWKS document."""
        return {"keys": [self._public]}

    def token(self, tenant: Any, user: Any) -> str:
        """Return a new token.

        Raises:
            BadRequest: if tenant or user is not a valid text.
            InvalidSubject: if the tenant breaks the grammar, or is reserved.
        """
        if not isinstance(tenant, str) or not isinstance(user, str) or not 0 < len(user) <= MAX_USER:
            raise BadRequest("tenant or user is missing", remedy='send {"tenant": "acme", "user": "ada"}')
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
        """Return its key (`headway.clientsync.web.tokens.Keys`)."""
        if kid != _KID:
            raise NotSignedIn("the token is not from the development issuer")
        return PyJWK.from_dict(self._public)
