"""The ASGI application: sessions, the development issuer, health, and the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from headway.clientsync.web.devissuer import DevelopmentIssuer
from headway.clientsync.web.guard import Guard, answer, body
from headway.clientsync.web.pages import Pages, SecurityHeaders, policy
from headway.clientsync.web.sessions import Sessions
from headway.clientsync.web.tokens import SignedIn, Verifier

Health = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of the application.

    Attributes:
        guard: admits requests.
        verifier: checks the application's tokens.
        sessions: opens sessions.
        ws_url: websocket URL that pages connect to.
        health: returns the fields of `GET /health` in addition to "ok".
        issuer: the development issuer, if it is enabled.
        origins: other origins whose pages may use this server.
        pages: directory of the pages.
        own: directory of the application's own pages, which come first; None without any.
        more: additional routes.
    """

    guard: Guard
    verifier: Verifier
    sessions: Sessions
    ws_url: str
    health: Health
    pages: Path
    own: Path | None = None
    issuer: DevelopmentIssuer | None = None
    origins: tuple[str, ...] = ()
    more: Sequence[BaseRoute] = ()


def application(site: Site) -> Starlette:
    """Build the ASGI application."""
    server = _Endpoints(site)
    routes = [
        Route("/session", server.session, methods=["POST", "DELETE"]),
        Route("/health", server.health, methods=["GET"]),
    ]
    if site.issuer is not None:
        routes += [
            Route("/dev/token", server.dev_token, methods=["POST"]),
            Route("/.well-known/jwks.json", server.jwks, methods=["GET"]),
        ]
    middleware = [
        Middleware(SecurityHeaders, policy=policy(site.ws_url)),
        Middleware(
            CORSMiddleware,
            allow_origins=list(site.origins),
            allow_methods=["POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after"],
            max_age=600,
        ),
    ]
    return Starlette(routes=[*routes, *site.more, *_mounts(site)], middleware=middleware)


def _mounts(site: Site) -> list[BaseRoute]:
    """Return the routes of the pages. `/client/` has the browser package, whatever an application's own pages are."""
    return [Mount("/client", app=Pages(site.pages)), Mount("/", app=Pages(site.pages, site.own))]


class _Endpoints:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._guard = site.guard

    async def session(self, request: Request) -> Response:
        return await self._guard.admit(request, self._revoke if request.method == "DELETE" else self._open)

    async def dev_token(self, request: Request) -> Response:
        return await self._guard.admit(request, self._dev_token)

    async def health(self, _request: Request) -> Response:
        return answer({"ok": True, **self._site.health()})

    async def jwks(self, _request: Request) -> Response:
        assert self._site.issuer is not None
        return answer(self._site.issuer.jwks)

    async def _open(self, request: Request) -> Response:
        return answer(self._site.sessions.open(await self._who(request)).shown(self._site.ws_url))

    async def _revoke(self, request: Request) -> Response:
        await self._site.sessions.revoke(await self._who(request))
        return Response(status_code=204)

    async def _dev_token(self, request: Request) -> Response:
        assert self._site.issuer is not None
        wanted = await body(request)
        return answer({"token": self._site.issuer.token(wanted.get("tenant"), wanted.get("user"))})

    async def _who(self, request: Request) -> SignedIn:
        who = await self._guard.bearer(request, self._site.verifier.verify)
        self._guard.once_more(who.tenant, who.user)
        return who
