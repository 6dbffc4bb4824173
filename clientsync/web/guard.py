"""What every request over HTTP passes: rates, whose page asks, and who is signed in. Errors leave as JSON."""

from __future__ import annotations

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
"""Bytes of a request's body."""

_log = logging.getLogger("headway.clientsync")


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates: tokens a second, and how many at once.

    Attributes:
        address: requests from one address.
        failures: refused tokens from one address.
        user: sessions of one user.
    """

    address: tuple[float, float] = (50.0, 1000.0)
    failures: tuple[float, float] = (1.0, 30.0)
    user: tuple[float, float] = (1.0, 60.0)


class Guard:
    """Lets requests in.

    Args:
        limits: rates.
        origins: other origins whose pages may ask.
        hosts: names by which we may be called; None is any.
    """

    def __init__(self, limits: Limits, origins: tuple[str, ...], hosts: frozenset[str] | None) -> None:
        self._origins = origins
        self._hosts = hosts
        self._addresses = Rates(*limits.address)
        self._failures = Rates(*limits.failures)
        self._users = Rates(*limits.user)

    async def admit(self, request: Request, work: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer a request, or say why not."""
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
        """What a check makes of a request's bearer token. Who sends bad ones is soon not listened to.

        Raises:
            NotSignedIn: if there is none.
            RateLimited: after too many bad ones.
            ClientSyncError: what `check` raises.
        """
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise NotSignedIn("there is no token", remedy="send `Authorization: Bearer <the application's token>`")
        return await self.attempt(request, token.strip(), check)

    async def attempt(self, request: Request, secret: str, check: Callable[[str], Awaitable[T]]) -> T:
        """As `bearer`, of a secret that is not in the header."""
        address = _address(request)
        self._failures.check(address, time.monotonic(), "bad tokens from this address", take=False)
        try:
            return await check(secret)
        except (NotSignedIn, NotAllowed):
            self._failures.take(address, time.monotonic())
            raise

    def once_more(self, *user: str) -> None:
        """Count a session of a user.

        Raises:
            RateLimited: if these are too many.
        """
        self._users.check("\0".join(user), time.monotonic(), "requests of this user")

    def _check_origin(self, request: Request) -> None:
        """A browser says whose page asks. Other programs say nothing, and have no user to be tricked."""
        host = request.headers.get("host", "")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            raise NotAllowed(f"this is not {host}", remedy="name other hosts with --allow-origin")
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            raise NotAllowed(f"pages of {origin} are not allowed here", remedy=f"--allow-origin {origin} allows them")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def body(request: Request) -> dict[str, Any]:
    """A request's body, a JSON object.

    Raises:
        TooLarge: beyond `MAX_BODY` bytes.
        BadRequest: if it is anything else.
    """
    read = b""
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY:
            raise TooLarge("the request is too large", remedy=f"at most {MAX_BODY} bytes are read")
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        # A form of another site's page cannot send this type without asking first.
        raise BadRequest("the body has to be JSON", remedy="send it with Content-Type: application/json")
    try:
        found = orjson.loads(read)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest("the body is no JSON object")
    return found


def answer(said: Mapping[str, Any]) -> Response:
    """An answer that nobody keeps."""
    return JSONResponse(said, headers={"Cache-Control": "no-store"})


def refusal(error: HeadwayError) -> Response:
    """An error as it is told."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    said = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return JSONResponse({"error": said}, status_code=error.status, headers=headers)
