"""The application's own tokens (JWT), checked against the public keys of their issuer (JWKS, found by OIDC discovery).

Only public-key algorithms are allowed: with a shared secret, whoever can check tokens could also make them. Keys are
kept; one that is not known is looked for at most every half a minute, so strangers' tokens cannot make us ask all the
time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import jwt
from jwt import PyJWK, PyJWKSet

from headway.bus.errors import ConfigError, ConnectionFailed, InvalidSubject
from headway.bus.wire import subjects
from headway.clientsync.errors import NotAllowed, NotSignedIn

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY: Final = 30.0
"""Seconds by which clocks may differ."""
MAX_TOKEN: Final = 8 * 1024
MAX_USER: Final = 256

_FRESH: Final = 600.0
"""Seconds for which keys are used without looking whether they have changed."""
_STALE: Final = 86_400.0
"""Seconds for which keys are used when their issuer cannot be reached."""
_AGAIN: Final = 30.0
_TIMEOUT: Final = 5.0
_MAX_KEYS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a token is for.

    Attributes:
        tenant: whose user.
        user: who, in the application's terms.
        expires: until when the token is good, unix seconds.
    """

    tenant: str
    user: str
    expires: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Which tokens are good.

    Attributes:
        issuer: what `iss` has to be.
        audience: what `aud` has to name.
        tenant_claim: the claim that names the tenant; `a.b` is b inside a.
        user_claim: the claim that names the user.
        algorithms: those allowed.
    """

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    user_claim: str = "sub"
    algorithms: tuple[str, ...] = ALGORITHMS


class Keys(Protocol):
    """Finds public keys by their id."""

    async def find(self, kid: str | None) -> PyJWK:
        """The key.

        Raises:
            NotSignedIn: if the issuer has no such key.
            ConnectionFailed: if the issuer cannot be reached, and no keys of it are known.
        """
        ...


class Verifier:
    """Checks tokens of one issuer.

    Args:
        rules: which are good.
        keys: the issuer's.
    """

    def __init__(self, rules: Rules, keys: Keys) -> None:
        self._rules = rules
        self._keys = keys

    async def verify(self, token: str) -> SignedIn:
        """Who a token is for.

        Raises:
            NotAllowed: if it is good, but names no tenant or user, or the operator's tenant.
            NotSignedIn, ConnectionFailed: as `claims`.
        """
        return self._person(await self.claims(token))

    async def claims(self, token: str) -> dict[str, Any]:
        """What a good token says.

        Raises:
            NotSignedIn: if it is not good.
            ConnectionFailed: if the issuer's keys cannot be had.
        """
        if len(token) > MAX_TOKEN:
            raise NotSignedIn(f"a token of {len(token)} characters is not read")
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
            raise NotSignedIn(f"the token is not good: {error}") from error
        return claims

    def user(self, claims: Mapping[str, Any]) -> str:
        """Who a token's claims name.

        Raises:
            NotAllowed: if they name nobody.
        """
        user = claim(claims, self._rules.user_claim)
        if not isinstance(user, str) or not 0 < len(user) <= MAX_USER or not user.isprintable():
            raise NotAllowed(f"the token names no user in {self._rules.user_claim!r}")
        return user

    def _person(self, claims: Mapping[str, Any]) -> SignedIn:
        tenant, user = claim(claims, self._rules.tenant_claim), self.user(claims)
        try:
            # A tag `tenant:*` would be every tenant: the grammar is the guard.
            tenant = subjects.application_tenant(tenant if isinstance(tenant, str) else "")
        except InvalidSubject as error:
            raise NotAllowed(f"the token names no tenant in {self._rules.tenant_claim!r}: {error.message}") from error
        return SignedIn(tenant, user, float(claims["exp"]))


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """What claims say under a name; `a.b` is b inside a. None if they say nothing."""
    if path in claims:  # names of claims are often URLs, which have dots
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class RemoteKeys:
    """The keys that an issuer publishes.

    Args:
        issuer: where OIDC discovery finds them, if `url` is not given.
        url: of the JWKS document.
        client: makes the requests.

    Raises:
        ConfigError: if they would be fetched without TLS from another machine.
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
        """See `Keys`."""
        now = time.monotonic()
        if (now - self._fetched > _FRESH or kid not in self._keys) and now - self._tried > _AGAIN:
            async with self._fetching:
                if time.monotonic() - self._tried > _AGAIN:
                    await self._fetch()
        if not self._keys:
            raise ConnectionFailed(f"the keys of {self._issuer} cannot be had", remedy="see whether it can be reached")
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
            raise ValueError("the document is no JSON object")  # noqa: TRY004  # as all that is wrong with it
        return found


def _usable(document: dict[str, Any]) -> dict[str | None, PyJWK]:
    keys = PyJWKSet.from_dict(document).keys
    return {key.key_id: key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS}


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ConfigError(f"{url}: keys are not fetched without TLS", remedy="use an https address")
