"""Presence: the users of a tenant that have a connection in the role browser, as reported by nats-server.

The server publishes when a connection begins and ends. Since such an event can be lost, all connections are also
requested at the start, after a reconnect, and periodically. Changes are published on `live.<tenant>.presence`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
from nats.aio.msg import Msg

from headway.broker.broker import Broker
from headway.broker.errors import BrokerError
from headway.broker.routes import Pusher
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError, InvalidSubject
from headway.bus.nats.refusals import translating
from headway.bus.wire import subjects
from headway.clientsync.metrics import SyncMetrics

SHOWN: Final = 1000
"""Maximum names published for one tenant; above it, only the number is complete."""
RECOUNT: Final = 30.0
"""Seconds between two requests for all connections."""
_GATHER: Final = 0.2
"""Seconds for which changes are collected before they are published, so that a reload does not count as leaving."""
_PAGE: Final = 1024
_TIMEOUT: Final = 5.0
_TAG: Final = "tenant:"

_log = logging.getLogger("headway.clientsync")

Connection = tuple[str, int]
"""A server's id, and the id of the connection on that server."""


@dataclass(frozen=True, slots=True)
class Person:
    """The user of a connection.

    Attributes:
        tenant: the user's tenant.
        name: the user's name, as given to the session endpoint.
    """

    tenant: str
    name: str


def person(client: dict[str, Any], issuer: str) -> Person | None:
    """Return the user of a connection; None if it is not a browser's.

    Args:
        client: the server's description of the connection.
        issuer: public key of the role browser.
    """
    if client.get("issuer_key") != issuer:
        return None
    tenants = [tag.removeprefix(_TAG) for tag in client.get("tags") or [] if tag.startswith(_TAG)]
    try:
        payload = str(client.get("jwt", "")).split(".")[1]
        name = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("name", "")
        return Person(subjects.token(tenants[0], "tenant"), str(name))
    except (ValueError, IndexError, InvalidSubject):
        return None


class Online:
    """The connections and their users."""

    def __init__(self) -> None:
        self._people: dict[Connection, Person] = {}

    @property
    def connections(self) -> int:
        """Number of connections."""
        return len(self._people)

    def connected(self, connection: Connection, who: Person) -> None:
        """Add a connection."""
        self._people[connection] = who

    def gone(self, connection: Connection) -> Person | None:
        """Remove a connection; return its user."""
        return self._people.pop(connection, None)

    def replace(self, people: dict[Connection, Person]) -> set[str]:
        """Replace all connections; return the tenants whose users changed."""
        before, self._people = self._people, people
        tenants = {who.tenant for who in (*before.values(), *people.values())}
        return {tenant for tenant in tenants if _names(before, tenant) != _names(people, tenant)}

    def names(self, tenant: str) -> set[str]:
        """Return the names of a tenant's users who are online."""
        return _names(self._people, tenant)

    @property
    def tenants(self) -> set[str]:
        """The tenants with users online."""
        return {who.tenant for who in self._people.values()}


def _names(people: dict[Connection, Person], tenant: str) -> set[str]:
    return {who.name for who in people.values() if who.tenant == tenant}


class Presence:
    """Follows connections, and publishes changes of presence.

    Args:
        broker: connects to the system account.
        bus: a connection in the role `web`, to publish to pages.
        metrics: records the number of connections.
        recount: seconds between two requests for all connections.
    """

    def __init__(self, broker: Broker, bus: Bus, metrics: SyncMetrics, *, recount: float = RECOUNT) -> None:
        self._broker = broker
        self._bus = bus
        self._metrics = metrics
        self._recount = recount
        self._online = Online()
        self._issuer = broker.identities.role_key("browser")
        self._changed: set[str] = set()
        self._told: dict[str, set[str]] = {}
        self._news = asyncio.Event()
        self._stale = asyncio.Event()
        self._since_count: list[tuple[Connection, Person | None]] = []

    def of(self, tenant: str) -> dict[str, Any]:
        """Return a tenant's presence in the form that pages receive."""
        names = sorted(self._online.names(tenant))
        return {"online": names[:SHOWN], "count": len(names), "at": round(time.time(), 3)}

    @property
    def tenants(self) -> set[str]:
        """The tenants with users online."""
        return self._online.tenants

    def reconnected(self) -> None:
        """Request all connections again, since events may have been missed."""
        self._stale.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        account = self._broker.identities.account
        system = await self._broker.system()
        system.on_reconnect(self)
        taken = [
            await system.nc.subscribe(f"$SYS.ACCOUNT.{account}.{what}", cb=self._on_event)
            for what in ("CONNECT", "DISCONNECT")
        ]
        try:
            async with tasks.group() as group:
                group.create_task(self._tell())
                while True:
                    self._stale.clear()
                    try:
                        await self._count(system)
                    except (ConnectionFailed, BrokerError) as error:
                        _log.debug("connections could not be counted: %s", error)
                    try:
                        async with asyncio.timeout(self._recount):
                            await self._stale.wait()
                    except TimeoutError:
                        continue
        finally:
            for subscription in taken:
                if not system.nc.is_closed:
                    await subscription.unsubscribe()

    async def _on_event(self, message: Msg) -> None:
        event = orjson.loads(message.data)
        connection = (event["server"]["id"], int(event["client"]["id"]))
        who = person(event["client"], self._issuer)
        if who is None:
            return
        begins = message.subject.endswith(".CONNECT")
        self._since_count.append((connection, who if begins else None))
        self._apply(connection, who if begins else None)
        self._changed.add(who.tenant)
        self._news.set()

    def _apply(self, connection: Connection, who: Person | None) -> None:
        if who is None:
            self._online.gone(connection)
        else:
            self._online.connected(connection, who)
        self._metrics.connected(self._online.connections)

    async def _count(self, system: Bus) -> None:
        """Request all connections from all servers. Events that arrive meanwhile are applied again afterwards.

        Raises:
            ConnectionFailed, BrokerError: if a server does not answer.
        """
        self._since_count.clear()
        servers, _ = await Pusher(system.nc).servers()
        people: dict[Connection, Person] = {}
        for server in servers:
            offset, total = 0, 1
            while offset < total:
                ask = {"acc": self._broker.identities.account, "auth": True, "offset": offset, "limit": _PAGE}
                try:
                    subject = f"$SYS.REQ.SERVER.{server}.CONNZ"
                    with translating(subject):
                        reply = await system.nc.request(subject, orjson.dumps(ask), timeout=_TIMEOUT)
                except (TimeoutError, HeadwayError) as error:
                    raise ConnectionFailed(f"{servers[server]} did not list its connections: {error!r}") from error
                said = orjson.loads(reply.data).get("data") or {}
                for found in said.get("connections") or []:
                    who = person(found, self._issuer)
                    if who is not None:
                        people[server, int(found["cid"])] = who
                total, offset = int(said.get("total", 0)), offset + _PAGE
        changed = self._online.replace(people)
        self._metrics.connected(self._online.connections)
        for connection, who in self._since_count:
            self._apply(connection, who)
        self._since_count.clear()
        if changed:
            self._changed |= changed
            self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER)
            self._news.clear()
            tenants, self._changed = self._changed, set()
            for tenant in tenants:
                names = self._online.names(tenant)
                if names == self._told.get(tenant, set()):
                    continue
                self._told[tenant] = names
                if not names:
                    del self._told[tenant]
                try:
                    await self._bus.publish(subjects.live_presence(tenant), orjson.dumps(self.of(tenant)))
                except ConnectionFailed as error:
                    _log.debug("presence of %s was not published: %s", tenant, error)
