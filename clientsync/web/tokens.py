"""The application's own tokens (JWT), checked against the public keys of their issuer (JWKS, found by OIDC discovery).

Only public-key algorithms are allowed: with a shared secret, every verifier could also issue tokens. Keys are cached.
An unknown key causes at most one request per half minute, so invalid tokens cannot cause many requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import jwt
import orjson
from jwt import PyJWK, PyJWKSet

from headway.bus.errors import ConfigError, ConnectionFailed, InvalidSubject
from headway.bus.wire import subjects
from headway.clientsync.errors import NotAllowed, NotSignedIn

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY: Final = 30.0
"""Tolerated difference between clocks, in seconds."""
MAX_TOKEN: Final = 8 * 1024
MAX_USER: Final = 256
MAX_PASSED: Final = 1024
"""Maximum bytes of the claims that services are told: they go with each message."""

_FRESH: Final = 600.0
"""Seconds for which keys are used without fetching them again."""
_STALE: Final = 86_400.0
"""Seconds for which keys are used while their issuer cannot be reached."""
_AGAIN: Final = 30.0
_TIMEOUT: Final = 5.0
_MAX_KEYS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user that a token was issued for.

    Attributes:
        tenant: the user's tenant.
        user: the application's name of the user.
        expires: when the token expires, in unix seconds.
        claims: further claims of the token, for services.
    """

    tenant: str
    user: str
    expires: float
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for valid tokens.

    Attributes:
        issuer: required value of `iss`.
        audience: required value in `aud`.
        tenant_claim: the claim with the tenant; `a.b` is b inside a.
        user_claim: the claim with the user.
        algorithms: allowed signature algorithms.
        passed: names of further claims that services are told; `a.b` is b inside a.
    """

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    user_claim: str = "sub"
    algorithms: tuple[str, ...] = ALGORITHMS
    passed: tuple[str, ...] = ()


class Keys(Protocol):
    """Finds public keys by their id."""

    async def find(self, kid: str | None) -> PyJWK:
        """Return the key with an id.

        Raises:
            NotSignedIn: if the issuer has no such key.
            ConnectionFailed: if the issuer cannot be reached and no keys are cached.
        """
        ...


class Verifier:
    """Checks tokens of one issuer.

    Args:
        rules: the rules for valid tokens.
        keys: the issuer's keys.
    """

    def __init__(self, rules: Rules, keys: Keys) -> None:
        self._rules = rules
        self._keys = keys

    async def verify(self, token: str) -> SignedIn:
        """Return the user that a token was issued for.

        Raises:
            NotAllowed: if it is valid, but names no tenant or user, or the reserved tenant.
            NotSignedIn, ConnectionFailed: as `claims`.
        """
        return self._person(await self.claims(token))

    async def claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token after checking it.

        Raises:
            NotSignedIn: if it is not valid.
            ConnectionFailed: if the issuer's keys are not available.
        """
        if len(token) > MAX_TOKEN:
            raise NotSignedIn(f"the token is too long: {len(token)} characters")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise NotSignedIn("this is not a JWT") from error
        if header.get("alg") not in self._rules.algorithms:
            raise NotSignedIn(f"a token signed with {header.get('alg')!r} is not trusted")
        kid = header.get("kid")
        key = await self._keys.find(kid if isinstance(kid, str) else None)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key.key,
                algorithms=[key.algorithm_name] if key.algorithm_name in self._rules.algorithms else [],
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"], "verify_iat": True, "verify_nbf": True},
            )
        except jwt.InvalidTokenError as error:
            raise NotSignedIn(f"the token is not valid: {error}") from error
        return claims

    def user(self, claims: Mapping[str, Any]) -> str:
        """Return the user in a token's claims.

        Raises:
            NotAllowed: if there is none.
        """
        user = claim(claims, self._rules.user_claim)
        if not isinstance(user, str) or not 0 < len(user) <= MAX_USER or not user.isprintable():
            raise NotAllowed(f"the token names no user in {self._rules.user_claim!r}")
        return user

    def _person(self, claims: Mapping[str, Any]) -> SignedIn:
        tenant, user = claim(claims, self._rules.tenant_claim), self.user(claims)
        try:
            # The grammar prevents a tag `tenant:*`, which would match every tenant.
            tenant = subjects.application_tenant(tenant if isinstance(tenant, str) else "")
        except InvalidSubject as error:
            raise NotAllowed(f"the token names no tenant in {self._rules.tenant_claim!r}: {error.message}") from error
        found = {name: value for name in self._rules.passed if (value := claim(claims, name)) is not None}
        if len(orjson.dumps(found)) > MAX_PASSED:
            raise NotAllowed(
                f"the claims {', '.join(found)} are too large to be passed to services",
                remedy=f"they may have {MAX_PASSED} bytes together: name fewer with --pass-claim",
            )
        return SignedIn(tenant, user, float(claims["exp"]), found)


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim at a path, where `a.b` is b inside a; None if it is missing."""
    if path in claims:  # names of claims are often URLs, which contain dots
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class RemoteKeys:
    """The keys that an issuer publishes.

    Args:
        issuer: URL of the issuer, for OIDC discovery if `url` is not given.
        url: URL of the JWKS document.
        client: sends the requests.

    Raises:
        ConfigError: if the URL is on another machine and does not use TLS.
    """

    def __init__(self, issuer: str, url: str | None, client: httpx.AsyncClient) -> None:
        self._issuer = issuer
        self._url = url
        self._client = client
        self._keys: dict[str | None, PyJWK] = {}
        self._fetched = -_STALE
        self._tried = -_STALE
        self._fetching = asyncio.Lock()
        _check_url(url or issuer)

    async def find(self, kid: str | None) -> PyJWK:
        """Return the key with an id, as `Keys.find`."""
        now = time.monotonic()
        if (now - self._fetched > _FRESH or kid not in self._keys) and now - self._tried > _AGAIN:
            async with self._fetching:
                if time.monotonic() - self._tried > _AGAIN:
                    await self._fetch()
        if not self._keys:
            raise ConnectionFailed(f"the keys of {self._issuer} are not available", remedy="check that it is reachable")
        if kid in self._keys:
            return self._keys[kid]
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        raise NotSignedIn("the token is signed with a key that its issuer does not publish")

    async def _fetch(self) -> None:
        try:
            url = self._url or await self._discover()
            found = _usable(await self._get(url))
        except (httpx.HTTPError, ValueError, jwt.PyJWTError):
            found = {}
        self._tried = time.monotonic()
        if found:
            self._keys, self._fetched = found, self._tried
        elif self._tried - self._fetched > _STALE:
            self._keys = {}

    async def _discover(self) -> str:
        said = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != self._issuer or not isinstance(said.get("jwks_uri"), str):
            raise ValueError("the discovery document is not this issuer's")
        _check_url(said["jwks_uri"])
        return str(said["jwks_uri"])

    async def _get(self, url: str) -> dict[str, Any]:
        async with asyncio.timeout(_TIMEOUT), self._client.stream("GET", url, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_KEYS:
                    raise ValueError("the document is too large")
        found = httpx.Response(200, content=body).json()
        if not isinstance(found, dict):
            raise ValueError("the document is not a JSON object")  # noqa: TRY004  # like other malformed documents
        return found


def _usable(document: dict[str, Any]) -> dict[str | None, PyJWK]:
    keys = PyJWKSet.from_dict(document).keys
    return {key.key_id: key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS}


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ConfigError(f"{url}: keys are only fetched over TLS", remedy="use an https URL")
