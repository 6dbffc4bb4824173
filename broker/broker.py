"""The broker: server, identities, shared streams and routes in one object.

    async with Broker.start(Path(".headway")) as broker:
        await broker.set_routes({"fax": {"v1": 100}})
        async with await broker.connect("client", tenant="acme") as bus:
            ...

`Broker.external` is the same for a server that runs elsewhere; what it can do depends on the keys it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from headway.broker import atomic, lock, routes
from headway.broker.claims import Account, decode
from headway.broker.config import FREE_PORT, NatsConfig
from headway.broker.errors import BadIdentity, BadRoutes, NoAuthority, NotReady, StoreCorrupt
from headway.broker.identity import Identities, TrafficPolicy
from headway.broker.provision import create_streams
from headway.broker.roles import Role
from headway.broker.routes import Met, Pusher, Routes
from headway.broker.server import START_TIMEOUT, Server
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.errors import ConnectionFailed, HeadwayError
from headway.bus.nats.refusals import translating

DEFAULT_DIR: Final = Path(".headway")
DEFAULT_PORT: Final = 4222
ROUTES_FILE: Final = "routes.json"
REVOKED_FILE: Final = "revoked.json"
LOCK_FILE: Final = "account.lock"
REVOKED_FOR: Final = 86_400
"""Seconds for which a revocation is remembered. No revocable token may live longer."""
_LOOKUP_TIMEOUT: Final = 2.0


class Broker:
    """A server with its identities and routes; made by `start` or `external`.

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
        """Return the keys of the installation.

        Raises:
            NoAuthority: if the server is external and its keys are not available.
        """
        if self._identities is None:
            raise NoAuthority(f"cannot make credentials for {self.url}: its keys are not in this data directory")
        return self._identities

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        dir: Path = DEFAULT_DIR,  # noqa: A002  # noqa: A002  # the natural name of the argument
        *,
        port: int = DEFAULT_PORT,
        ws_port: int | None = 0,
        origins: tuple[str, ...] = (),
        compression: bool = False,
        host: str = "127.0.0.1",
        name: str = "headway",
        sync_interval: str = "2m",
        replicas: int | None = None,
        max_payload: int = 1 << 20,
        provision: bool = True,
        identities: Identities | None = None,
        start_timeout: float = START_TIMEOUT,
    ) -> AsyncIterator[Broker]:
        """Start a server; stop it when the block is left.

        Args:
            dir: data directory for keys, routes, messages and log.
            port: for clients; 0 takes any free one.
            ws_port: for browsers; 0 takes any free one, None has no websocket listener.
            origins: as in `headway.broker.config.NatsConfig`.
            compression: likewise.
            host: address to listen on.
            name: the server's name.
            sync_interval: "always" has each message on disk before it is acknowledged; nats-server's default is "2m".
            replicas: copies that all streams have in a cluster; None leaves existing streams unchanged.
            max_payload: largest message in bytes.
            provision: make the shared streams.
            identities: keys to use rather than those in `dir`.
            start_timeout: seconds to become ready.

        Raises:
            BrokerError: one of its subclasses, if the server cannot be used.
            StoreError: if the shared streams cannot be made.
        """
        keys = identities or Identities.create_or_load(dir)
        keys.check_data(dir)
        remembered = _load(dir)
        config = NatsConfig(
            name=name,
            store=dir / "nats",
            trust=keys.trust(remembered.policy()),
            host=host,
            port=port or FREE_PORT,
            ws_port=FREE_PORT if ws_port == 0 else ws_port,
            origins=origins,
            compression=compression,
            sync_interval=sync_interval,
            max_payload=max_payload,
        )
        async with Server(config, start_timeout=start_timeout) as server:
            broker = cls(server.url, identities=keys, data_dir=dir, server=server, ws_url=server.ws_url)
            try:
                if provision:
                    async with await broker.connect("control") as bus:
                        await create_streams(bus, replicas)
                yield broker
            finally:
                await broker.close()

    @classmethod
    def external(
        cls,
        url: str,
        *,
        creds: str | Path | None = None,
        dir: Path | None = None,  # noqa: A002  # noqa: A002  # the natural name of the argument
        ws_url: str | None = None,
    ) -> Broker:
        """Return a broker for a server that runs elsewhere. Call `close` when done.

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
            keys = Identities.load(dir)
        return cls(url, identities=keys, creds=creds, data_dir=dir, ws_url=ws_url)

    async def close(self) -> None:
        """Close the broker's own connection. Leaving `start` stops the server."""
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
            ConnectionFailed: if the server cannot be reached or refuses the credentials.
        """
        if self._identities is None:
            return await connect(self.url, creds=self._creds, name=name or f"headway-{role}")
        made = self._identities.mint(role, tenant=tenant, service=service, name=name)
        try:
            return await connect(self.url, creds=made.text, name=name or f"headway-{role}")
        except ConnectionFailed:
            if made.records is None or not await self._introduced():
                raise
            return await connect(self.url, creds=made.text, name=name or f"headway-{role}")

    async def _introduced(self) -> bool:
        """Tell servers of an earlier version about control's account; return whether there was need to."""
        with contextlib.suppress(HeadwayError):
            if await self._lookup(self.identities.control):
                return False
            async with self._changing() as (standing, met):
                await self._push(standing, standing, met)
            return True
        return False

    async def set_routes(self, wanted: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
        """Replace all routes on every server of the cluster, within milliseconds and without losing a message.

        Args:
            wanted: weight by service and version; a service that is left out gets no more traffic.

        Returns:
            the names of the servers that confirmed.

        Raises:
            BadRoutes: if they cannot be compiled; nothing was sent.
            RouteRefused: if a server did not take them; the old routes stay in force.
            NoAuthority: if the server is external and its keys are not here.
            ConnectionFailed: if the system account cannot connect.
        """
        checked = routes.check(wanted)
        async with self._changing() as (standing, met):
            return await self._push(standing, replace(standing, routes=checked), met)

    async def revoke(self, users: Iterable[str]) -> tuple[str, ...]:
        """Void all tokens of some users issued so far.

        The servers disconnect these users and refuse their tokens; routes stay as they are. Revocations are kept
        for `REVOKED_FOR` seconds, so tokens must expire by then.

        Args:
            users: their public keys.

        Returns:
            the names of the servers that confirmed.

        Raises:
            RouteRefused, NoAuthority, ConnectionFailed: as `set_routes`.
        """
        now = int(time.time())
        async with self._changing() as (standing, met):
            kept = {user: until for user, until in standing.revoked.items() if until > now - REVOKED_FOR}
            revoked = {**kept, **dict.fromkeys(users, now)}
            return await self._push(standing, replace(standing, revoked=revoked), met)

    async def change_route(self, service: str, weights: Mapping[str, int] | None) -> tuple[str, ...]:
        """Change the weights of one service; the routes of other services stay as they are.

        Args:
            service: name of the service.
            weights: by version, or by version and cluster; None for a service that is no longer served.

        Returns:
            the names of the servers that confirmed; none if nothing had to be changed.

        Raises:
            BadRoutes, RouteRefused, NoAuthority, ConnectionFailed: as `set_routes`.
            NotReady: if another process with this data directory does not finish changing routes in time.
        """
        checked = routes.check({} if weights is None else {service: weights})
        async with self._changing() as (standing, met):
            new = {**{name: versions for name, versions in standing.routes.items() if name != service}, **checked}
            if new == standing.routes:
                return ()
            return await self._push(standing, replace(standing, routes=new), met)

    async def interest(self, subject: str) -> dict[str, int]:
        """Count the subscriptions that would receive a message on a subject, by queue group, over all servers.

        Raises:
            RouteRefused: if a server does not answer.
            NoAuthority, ConnectionFailed: as `set_routes`.
        """
        async with self._pushing:
            return await (await self._pushers()).interest(self.identities.account, subject)

    async def routes(self) -> Routes:
        """Return the routes that the server has.

        Raises:
            NoAuthority, ConnectionFailed: as `set_routes`.
        """
        return (await self._current()).routes

    async def system(self) -> Bus:
        """Return the broker's own connection to the system account; it is shared, and `close` closes it.

        Raises:
            NoAuthority: if the server is external and its keys are not here.
            ConnectionFailed: if it cannot connect.
        """
        return await self._system_bus()

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[tuple[_Granted, Met]]:
        """Read the current state and the servers that have to confirm, in order to change it.

        One change at a time, also among processes that share the directory of the keys: a token is always pushed
        as a whole.
        """
        async with self._pushing, _locked(self.data_dir):
            pusher = await self._pushers()
            standing, met = await asyncio.gather(self._current(), pusher.servers(), return_exceptions=True)
            for found in (standing, met):
                if isinstance(found, BaseException):
                    raise found
            assert isinstance(standing, _Granted)
            assert isinstance(met, tuple)
            yield standing, met

    async def _push(self, old: _Granted, new: _Granted, met: Met) -> tuple[str, ...]:
        pusher = await self._pushers()
        # Servers compare the seconds of issue: a later token must never have the same second as an earlier one.
        issued = self._issued = max(int(time.time()), self._issued + 1)
        tokens = new.tokens(self.identities, issued)
        for token in tokens:
            routes.prove(decode(token, Account).nats)
        self._issued += 1
        taken = await pusher.push(tokens, old.tokens(self.identities, issued + 1), met=met)
        self._remember(new, issued)
        return taken

    async def _current(self) -> _Granted:
        identities = self.identities
        found = decode(await self._lookup(identities.account), Account)
        if found.iss != identities.operator:
            raise BadIdentity(f"{self.url} has an account token that the operator of this data directory did not sign")
        self._issued = max(self._issued, found.iat)
        return _Granted(routes.decompile(found.nats.mappings), found.nats.revocations)

    async def _lookup(self, account: str) -> str:
        """Return an account's token as the servers have it; empty if they have none.

        Raises:
            NotReady: if they do not answer.
        """
        nc = (await self._system_bus()).nc
        subject = f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"
        try:
            with translating(subject):
                reply = await nc.request(subject, b"", timeout=_LOOKUP_TIMEOUT)
        except (HeadwayError, TimeoutError) as error:
            raise NotReady(f"cannot read the routes of {self.url}: {error!r}") from error
        return reply.data.decode()

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

    def _remember(self, taken: _Granted, issued: int) -> None:
        """Save the state for the next start: the server's configuration file is made from it.

        It only takes effect on a server without a token. Its time of issue is earlier than that of the pushed token,
        so it never replaces what another process has pushed since.
        """
        if self.data_dir is not None:
            atomic.write(self.data_dir / ROUTES_FILE, orjson.dumps(taken.routes, option=orjson.OPT_INDENT_2))
            atomic.write(self.data_dir / REVOKED_FILE, orjson.dumps(taken.revoked, option=orjson.OPT_INDENT_2))
        if self.server is not None:
            self.server.trust(self.identities.trust(taken.policy(issued - 1)))


@dataclass(frozen=True, slots=True)
class _Granted:
    """The current content of the accounts' tokens.

    Attributes:
        routes: the routes.
        revoked: the unix second up to which a user's tokens are void, by public key.
    """

    routes: Routes
    revoked: dict[str, int]

    def tokens(self, identities: Identities, issued_at: int) -> tuple[str, ...]:
        """Return the tokens that grant this, the application account's last.

        It imports from the clients' account, which a server of an earlier version has to know first.
        """
        policy = self.policy(issued_at)
        return (identities.clients_jwt(policy), identities.control_jwt(policy), identities.account_jwt(policy))

    def policy(self, issued_at: int | None = None) -> TrafficPolicy:
        """Return what tokens issued at a unix second (None is now) contain."""
        return TrafficPolicy(routes.compile(self.routes), self.revoked, issued_at)


def _locked(data_dir: Path | None) -> AbstractAsyncContextManager[None]:
    return nullcontext() if data_dir is None else lock.held(data_dir / LOCK_FILE)


def _load(data_dir: Path) -> _Granted:
    """Read what was saved.

    Raises:
        StoreCorrupt: if it cannot be read.
    """
    path = data_dir / ROUTES_FILE
    try:
        known = routes.check(_json(path))
        path = data_dir / REVOKED_FILE
        return _Granted(known, {str(user): int(until) for user, until in _json(path).items()})
    except (OSError, ValueError, TypeError, AttributeError, BadRoutes) as error:
        raise StoreCorrupt(f"{path} is damaged: {error}", remedy="delete it and set the routes again") from error


def _json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
