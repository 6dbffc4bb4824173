"""The broker in one: server, identities, shared streams and routes.

    async with Broker.start(Path(".headway")) as broker:
        await broker.set_routes({"fax": {"v1": 100}})
        async with await broker.connect("client", tenant="acme") as bus:
            ...

`Broker.external` is the same for a server that somebody else runs; it can do what the keys at hand allow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import nats.errors
import orjson

from broker import atomic, routes
from broker.claims import Account, decode
from broker.config import FREE_PORT, ServerConfig, Trust
from broker.errors import BadIdentity, BadRoutes, NoAuthority, NotReady, StoreCorrupt
from broker.identity import KEY_FILE, Identities
from broker.roles import Role
from broker.routes import Pusher, Routes
from broker.server import START_TIMEOUT, Server
from bus import streams
from bus.client import Bus, connect

DEFAULT_DIR: Final = Path(".headway")
DEFAULT_PORT: Final = 4222
ROUTES_FILE: Final = "routes.json"
_LOOKUP_TIMEOUT: Final = 2.0


class Broker:
    """A server with its identities and routes. Made by `start` or `external`, not by hand.

    Attributes:
        url: where clients connect.
        ws_url: where browsers connect; None without a websocket listener.
        data_dir: where keys, routes and the server's data are; None for an external server without keys.
        server: the process; None for an external server.
    """

    def __init__(
        self,
        url: str,
        *,
        identities: Identities | None,
        creds: str | Path | None = None,
        data_dir: Path | None = None,
        server: Server | None = None,
        ws_url: str | None = None,
    ) -> None:
        self.url = url
        self.ws_url = ws_url
        self.data_dir = data_dir
        self.server = server
        self._identities = identities
        self._creds = creds
        self._system: Bus | None = None
        self._pusher: Pusher | None = None
        self._pushing = asyncio.Lock()
        self._issued = 0

    def __repr__(self) -> str:
        return f"Broker({self.url!r}, data_dir={str(self.data_dir)!r})"

    @property
    def identities(self) -> Identities:
        """The keys of the installation.

        Raises:
            NoAuthority: if the server is external and its keys are not here.
        """
        if self._identities is None:
            raise NoAuthority(f"credentials for {self.url} cannot be made here: its keys are elsewhere")
        return self._identities

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        dir: Path = DEFAULT_DIR,  # noqa: A002  # the word for it
        *,
        port: int = DEFAULT_PORT,
        ws_port: int | None = 0,
        host: str = "127.0.0.1",
        name: str = "headway",
        sync_interval: str = "2m",
        max_payload: int = 1 << 20,
        provision: bool = True,
        identities: Identities | None = None,
        start_timeout: float = START_TIMEOUT,
    ) -> AsyncIterator[Broker]:
        """Start a server, and stop it when the block is left.

        Args:
            dir: everything is kept there: keys, routes, messages, log.
            port: for clients; 0 takes any free one.
            ws_port: for browsers; 0 takes any free one, None has no websocket listener.
            host: address to listen on.
            name: the server's name.
            sync_interval: "always" has each message on disk before it is acknowledged; nats-server's default is "2m".
            max_payload: largest message in bytes.
            provision: make the shared streams.
            identities: keys to use rather than those in `dir`.
            start_timeout: seconds to become ready.

        Raises:
            BrokerError: one of its kinds, when the server cannot be used.
            StoreError: if the shared streams cannot be made.
        """
        keys = identities or Identities.create_or_load(dir)
        remembered = _load_routes(dir)
        config = ServerConfig(
            name=name,
            store=dir / "nats",
            trust=_trust(keys, remembered),
            host=host,
            port=port or FREE_PORT,
            ws_port=FREE_PORT if ws_port == 0 else ws_port,
            sync_interval=sync_interval,
            max_payload=max_payload,
        )
        async with Server(config, start_timeout=start_timeout) as server:
            broker = cls(server.url, identities=keys, data_dir=dir, server=server, ws_url=server.ws_url)
            try:
                if provision:
                    async with await broker.connect("control") as bus:
                        await streams.provision(bus.js)
                yield broker
            finally:
                await broker.close()

    @classmethod
    def external(
        cls,
        url: str,
        *,
        creds: str | Path | None = None,
        dir: Path | None = None,  # noqa: A002  # the word for it
        ws_url: str | None = None,
    ) -> Broker:
        """A server that somebody else runs. Nothing is started; `close` it when done.

        Args:
            url: of the server, or several joined by commas.
            creds: path or text of credentials, used for every connection when the keys are not here.
            dir: directory with the keys that the server trusts; then credentials and routes can be made here.
            ws_url: where browsers connect, if known.

        Raises:
            BadIdentity: if `dir` has no readable keys.
        """
        keys = None
        if dir is not None:
            if not (dir / KEY_FILE).exists():
                raise BadIdentity(f"{dir} has no keys", remedy="name the data directory of the installation")
            keys = Identities.create_or_load(dir)
        return cls(url, identities=keys, creds=creds, data_dir=dir, ws_url=ws_url)

    async def close(self) -> None:
        """Close the broker's own connection. The server is stopped by leaving `start`."""
        system, self._system, self._pusher = self._system, None, None
        if system is not None:
            await system.close()

    async def connect(
        self,
        role: Role = "control",
        *,
        tenant: str | None = None,
        service: str | None = None,
        name: str | None = None,
    ) -> Bus:
        """Connect in a role; the caller closes the connection.

        With an external server whose keys are elsewhere, the given credentials are used whatever the role.

        Raises:
            UsageError, InvalidSubject: as `Identities.mint`.
            ConnectionFailed: if the server is not reached or refuses us.
        """
        if self._identities is None:
            return await connect(self.url, creds=self._creds, name=name or f"headway-{role}")
        made = self._identities.mint(role, tenant=tenant, service=service, name=name)
        return await connect(self.url, creds=made.text, name=name or f"headway-{role}")

    async def set_routes(self, wanted: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
        """Replace all routes, on every server of the cluster. Traffic shifts within milliseconds, none is lost.

        Args:
            wanted: weight by service and version; a service that is left out is no longer served.

        Returns:
            the names of the servers that confirmed.

        Raises:
            BadRoutes: if they cannot be compiled; nothing was sent.
            RouteRefused: if a server did not take them; the old ones stand.
            NoAuthority: if the server is external and its keys are not here.
            ConnectionFailed: if the system account cannot connect.
        """
        checked = routes.check(wanted)
        async with self._pushing:
            old = await self._current()
            pusher = await self._pushers()
            # Later ones count when servers compare tokens: never the same second twice.
            issued = self._issued = max(int(time.time()), self._issued + 1)
            token = self.identities.account_jwt(routes.compile(checked), issued_at=issued)
            back = self.identities.account_jwt(routes.compile(old), issued_at=issued + 1)
            self._issued += 1
            taken = await pusher.push(token, back)
            self._remember(checked)
        return taken

    async def routes(self) -> Routes:
        """The routes as the server has them.

        Raises:
            NoAuthority, ConnectionFailed: as `set_routes`.
        """
        async with self._pushing:
            return await self._current()

    async def _current(self) -> Routes:
        identities = self.identities
        nc = (await self._system_bus()).nc
        subject = f"$SYS.REQ.ACCOUNT.{identities.account}.CLAIMS.LOOKUP"
        try:
            reply = await nc.request(subject, b"", timeout=_LOOKUP_TIMEOUT)
        except (nats.errors.Error, TimeoutError) as error:
            raise NotReady(f"{self.url} does not tell its routes: {error!r}") from error
        found = decode(reply.data.decode(), Account)
        if found.iss != identities.operator:
            raise BadIdentity(f"{self.url} has an account token that is not signed by our operator")
        self._issued = max(self._issued, found.iat)
        return routes.decompile(found.nats.mappings)

    async def _system_bus(self) -> Bus:
        if self._system is None or self._system.nc.is_closed:
            made = self.identities.mint_system()
            self._system = await connect(self.url, creds=made.text, name="headway-routes")
        return self._system

    async def _pushers(self) -> Pusher:
        nc = (await self._system_bus()).nc
        if self._pusher is None or self._pusher.nc is not nc:
            self._pusher = Pusher(nc)
        return self._pusher

    def _remember(self, taken: Routes) -> None:
        """Keep routes for the next start: the server's configuration file is made from them."""
        if self.data_dir is not None:
            atomic.write(self.data_dir / ROUTES_FILE, orjson.dumps(taken, option=orjson.OPT_INDENT_2))
        if self.server is not None:
            self.server.trust(_trust(self.identities, taken, issued_at=self._issued + 1))


def _trust(identities: Identities, current: Routes, *, issued_at: int | None = None) -> Trust:
    application = identities.account_jwt(routes.compile(current), issued_at=issued_at)
    accounts = {identities.system: identities.system_jwt(), identities.account: application}
    return Trust(operator=identities.operator_jwt(), system=identities.system, accounts=accounts)


def _load_routes(data_dir: Path) -> Routes:
    path = data_dir / ROUTES_FILE
    try:
        return routes.check(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, BadRoutes) as error:
        raise StoreCorrupt(f"{path} is damaged: {error}", remedy="delete it, and set the routes again") from error
