"""The console over HTTP: signing in, read-only sessions, and actions. The page itself is one of client sync's files.

    POST   /console/sign-in   {"code"}           -> {"token"}: once for each code
    POST   /console/session   Bearer             -> a session of the role console, as clientsync/web/sessions.py gives
    DELETE /console/session   Bearer             signs out
    GET    /console/me        Bearer             -> {"user", "role"}
    POST   /console/act       Bearer, an action  -> {"said"}

There are no cookies, so no other page can make a browser act here. A page's credentials for the bus only allow
reading; each action needs the person's token, which is checked every time.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.clientsync.errors import BadRequest
from headway.clientsync.web.guard import Guard, answer, body
from headway.clientsync.web.sessions import Sessions
from headway.clientsync.web.tokens import Verifier
from headway.console.access import Access, Entrant, Roles
from headway.console.actions import NEEDS_ADMIN, Actions, parse
from headway.console.projector import Projector
from headway.control.audit import recorded
from headway.control.store import Control


class Console:
    """The part of `headway web` that serves the console; see `headway.clientsync.server.Beside`.

    Args:
        broker: of the installation, with its keys.
        bus: a connection in the role operator.
        ws_url: where pages connect.
        holder: name of this contender, for the projector's lease.
        roles: which of the application's tokens open the console; None if none do, as with the development issuer.
        lifetime: lifetime of a session in seconds.
        period: seconds between two snapshots of the projector.
    """

    def __init__(
        self,
        broker: Broker,
        bus: Bus,
        *,
        ws_url: str,
        holder: str,
        roles: Roles | None = None,
        lifetime: float = 600.0,
        period: float = 1.0,
    ) -> None:
        self.pages: Bus | None = bus.records
        self.projector = Projector(broker, bus, holder=holder, period=period)
        self.bus = bus
        self.access = Access(Control(bus))
        self.actions = Actions(bus)
        self.sessions = Sessions(broker, lifetime=lifetime, role="console")
        self.roles = roles
        self.ws_url = ws_url

    def routes(self, guard: Guard, verifier: Verifier) -> Sequence[BaseRoute]:
        """Return its HTTP routes."""
        endpoints = _Endpoints(self, guard, verifier)
        return [
            Route("/console/sign-in", endpoints.sign_in, methods=["POST"]),
            Route("/console/session", endpoints.session, methods=["POST", "DELETE"]),
            Route("/console/me", endpoints.me, methods=["GET"]),
            Route("/console/act", endpoints.act, methods=["POST"]),
        ]

    async def run(self) -> None:
        """Keep the page's objects up to date until cancelled."""
        await self.projector.run()


class _Endpoints:
    def __init__(self, console: Console, guard: Guard, verifier: Verifier) -> None:
        self._console = console
        self._guard = guard
        self._verifier = verifier

    async def sign_in(self, request: Request) -> Response:
        return await self._guard.admit(request, self._exchange)

    async def session(self, request: Request) -> Response:
        return await self._guard.admit(request, self._leave if request.method == "DELETE" else self._open)

    async def act(self, request: Request) -> Response:
        return await self._guard.admit(request, self._act)

    async def me(self, request: Request) -> Response:
        return await self._guard.admit(request, self._me)

    async def _exchange(self, request: Request) -> Response:
        code = (await body(request)).get("code")
        if not isinstance(code, str) or not code:
            raise BadRequest("there is no code", remedy="open the address that `headway console` prints")
        token = await self._guard.attempt(request, code, self._console.access.exchange)
        entrant = await self._console.access.entrant(token, self._verifier, None)
        async with recorded(self._console.bus, entrant.who.user, "console", "sign in", {"role": entrant.role}):
            return answer({"token": token})

    async def _me(self, request: Request) -> Response:
        entrant = await self._entrant(request)
        return answer({"user": entrant.who.user, "role": entrant.role})

    async def _open(self, request: Request) -> Response:
        who = (await self._entrant(request)).who
        self._guard.once_more(who.tenant, who.user)
        return answer(self._console.sessions.open(who).shown(self._console.ws_url))

    async def _leave(self, request: Request) -> Response:
        """Revoke the token and the sessions of its owner: the server closes their connections."""
        who = (await self._entrant(request)).who
        async with recorded(self._console.bus, who.user, "console", "sign out"):
            await self._console.access.leave(request.headers["authorization"].partition(" ")[2].strip())
            await self._console.sessions.revoke(who)
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        entrant = await self._entrant(request)
        wanted = parse(await body(request))
        entrant.require("admin" if wanted.do in NEEDS_ADMIN else "operator")
        return answer({"said": await self._console.actions.perform(wanted, entrant.who.user)})

    async def _entrant(self, request: Request) -> Entrant:
        async def check(token: str) -> Entrant:
            return await self._console.access.entrant(token, self._verifier, self._console.roles)

        return await self._guard.bearer(request, check)
