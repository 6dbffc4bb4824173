"""The console over HTTP: signing in, read-only sessions, and actions. The page itself is one of client sync's files.

    POST   /console/sign-in   {"code"}           -> {"token"}: once for each code
    POST   /console/session   Bearer             -> a session of the role console, as clientsync/web/sessions.py gives
    DELETE /console/session   Bearer             signs out
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
from headway.clientsync.web.tokens import SignedIn, Verifier
from headway.console.access import Access, Roles
from headway.console.actions import Actions, parse
from headway.console.projector import Projector
from headway.control.store import Control


class Console:
    """The part of `headway web` that serves the console; see `headway.clientsync.server.Beside`.

    Args:
        broker: of the installation, with its keys.
        bus: a connection in the role operator.
        ws_url: where pages connect.
        holder: name of this contender, for the projector's lease.
        roles: which of the application's tokens belong to operators; None if none do, as with the development issuer.
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

    async def _exchange(self, request: Request) -> Response:
        code = (await body(request)).get("code")
        if not isinstance(code, str) or not code:
            raise BadRequest("there is no code", remedy="open the address that `headway console` prints")
        return answer({"token": await self._guard.attempt(request, code, self._console.access.exchange)})

    async def _open(self, request: Request) -> Response:
        who = await self._who(request)
        self._guard.once_more(who.tenant, who.user)
        return answer(self._console.sessions.open(who).shown(self._console.ws_url))

    async def _leave(self, request: Request) -> Response:
        """Revoke the token and the sessions of its owner: the server closes their connections."""
        who = await self._who(request)
        await self._console.access.leave(request.headers["authorization"].partition(" ")[2].strip())
        await self._console.sessions.revoke(who)
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        who = await self._who(request)
        return answer({"said": await self._console.actions.perform(parse(await body(request)), who.user)})

    async def _who(self, request: Request) -> SignedIn:
        async def check(token: str) -> SignedIn:
            return await self._console.access.operator(token, self._verifier, self._console.roles)

        return await self._guard.bearer(request, check)
