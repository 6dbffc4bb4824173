"""Checks of every HTTP request: rate limits, origin and token. Errors are returned as JSON."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headway.bus.client.limits import Rates
from headway.bus.errors import HeadwayError, RateLimited, TooLarge
from headway.clientsync.errors import BadRequest, NotAllowed, NotSignedIn

T = TypeVar("T")

MAX_BODY: Final = 4 * 1024
"""Maximum bytes of a request's body."""

_log = logging.getLogger("headway.clientsync")


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Rate limits: per second and at once.

    Attributes:
        address: requests from one address.
        failures: refused tokens from one address, and refusals of one token from anywhere.
        user: sessions of one user.
    """

    address: tuple[float, float] = (50.0, 1000.0)
    failures: tuple[float, float] = (1.0, 30.0)
    user: tuple[float, float] = (1.0, 60.0)


class Guard:
    """Admits or refuses requests.

    Args:
        limits: rate limits.
        origins: other origins whose pages may send requests.
        hosts: accepted host names of this server; None for any.
        signed_in: called with the address of each accepted token, and the time in monotonic seconds.
    """

    def __init__(
        self,
        limits: RateLimits,
        origins: tuple[str, ...],
        hosts: frozenset[str] | None,
        signed_in: Callable[[str, float], None] = lambda _address, _now: None,
    ) -> None:
        self._origins = origins
        self._signed_in = signed_in
        self._hosts = hosts
        self._addresses = Rates(*limits.address)
        self._failures = Rates(*limits.failures)
        self._bad_tokens = Rates(*limits.failures)
        self._users = Rates(*limits.user)

    async def admit(self, request: Request, work: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer a request, or return an error."""
        try:
            self._addresses.check(_address(request), time.monotonic(), "requests of this address")
            self._check_origin(request)
            return await work(request)
        except HeadwayError as error:
            return refusal(error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return refusal(HeadwayError("client sync failed"))

    async def bearer(self, request: Request, check: Callable[[str], Awaitable[T]]) -> T:
        """Check a request's bearer token, with limits of bad tokens; return the result of `check`.

        A good token is accepted however many bad ones came from its address: others may share it.

        Raises:
            NotSignedIn: if there is no token.
            RateLimited: after too many bad tokens of an address, or too many refusals of this token.
            ClientSyncError: as `check`.
        """
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise NotSignedIn("there is no token", remedy="send `Authorization: Bearer <the application's token>`")
        return await self.attempt(request, token.strip(), check)

    async def attempt(self, request: Request, secret: str, check: Callable[[str], Awaitable[T]]) -> T:
        """Check a secret from another place than the header, as `bearer` does."""
        now, address, digest = time.monotonic(), _address(request), hashlib.sha256(secret.encode()).hexdigest()
        self._bad_tokens.check(digest, now, "attempts with this token", take=False)
        try:
            found = await check(secret)
        except (NotSignedIn, NotAllowed):
            self._bad_tokens.take(digest, now)
            if wait := self._failures.take(address, now):
                raise RateLimited("too many bad tokens from this address", retry_after=wait) from None
            raise
        self._signed_in(address, now)
        return found

    def once_more(self, *user: str) -> None:
        """Count a session of a user.

        Raises:
            RateLimited: if the user has opened too many.
        """
        self._users.check("\0".join(user), time.monotonic(), "requests of this user")

    def _check_origin(self, request: Request) -> None:
        """Refuse pages of foreign origins. Only browsers send an origin; other programs are not affected."""
        host = request.headers.get("host", "")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            raise NotAllowed(f"this server is not {host}", remedy="allow other hosts with --allow-origin")
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            raise NotAllowed(f"pages of {origin} are not allowed", remedy=f"allow them with --allow-origin {origin}")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def body(request: Request) -> dict[str, Any]:
    """Return a request's body, which has to be a JSON object.

    Raises:
        TooLarge: if it has more than `MAX_BODY` bytes.
        BadRequest: if it is not a JSON object.
    """
    read = b""
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY:
            raise TooLarge("the request is too large", remedy=f"send at most {MAX_BODY} bytes")
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        # A form on another site cannot send this type without a CORS preflight.
        raise BadRequest("the body has to be JSON", remedy="send it with Content-Type: application/json")
    try:
        found = orjson.loads(read)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    return found


def answer(said: Mapping[str, Any]) -> Response:
    """Return a JSON answer that is not cached."""
    return JSONResponse(said, headers={"Cache-Control": "no-store"})


def refusal(error: HeadwayError) -> Response:
    """Return the answer for an error."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    said = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return JSONResponse({"error": said}, status_code=error.status, headers=headers)
