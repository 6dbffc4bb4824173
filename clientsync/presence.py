"""Who is online: the users of a tenant that have a connection in the role browser, as nats-server tells it.

The server says when a connection begins and ends; since such an event can be lost, all connections are asked for at the
start, after a reconnect, and now and then. `live.<tenant>.presence` tells a tenant's pages when something has changed.
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
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError, InvalidSubject
from headway.bus.nats.refusals import translating
from headway.bus.wire import subjects
from headway.clientsync.metrics import Metrics

SHOWN: Final = 1000
"""Names told of one tenant; beyond, only their number."""
RECOUNT: Final = 30.0
"""Seconds between two looks at all connections."""
_GATHER: Final = 0.2
"""Seconds for which changes are gathered before they are told: a reload is no leaving."""
_PAGE: Final = 1024
_TIMEOUT: Final = 5.0
_TAG: Final = "tenant:"

_log = logging.getLogger("headway.clientsync")

Connection = tuple[str, int]
"""A server's id, and the number of the connection there."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who has a connection.

    Attributes:
        tenant: whose user it is.
        name: as the session endpoint was told.
    """

    tenant: str
    name: str


def person(client: dict[str, Any], issuer: str) -> Person | None:
    """Who a connection belongs to; None if it is no browser's.

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
    """Connections and whose they are."""

    def __init__(self) -> None:
        self._people: dict[Connection, Person] = {}

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._people)

    def connected(self, connection: Connection, who: Person) -> None:
        """A connection began."""
        self._people[connection] = who

    def gone(self, connection: Connection) -> Person | None:
        """A connection ended; whose it was."""
        return self._people.pop(connection, None)

    def replace(self, people: dict[Connection, Person]) -> set[str]:
        """These are all connections. Returns the tenants of which something changed."""
        before, self._people = self._people, people
        tenants = {who.tenant for who in (*before.values(), *people.values())}
        return {tenant for tenant in tenants if _names(before, tenant) != _names(people, tenant)}

    def names(self, tenant: str) -> set[str]:
        """Who is online of a tenant."""
        return _names(self._people, tenant)

    @property
    def tenants(self) -> set[str]:
        """The tenants of which somebody is online."""
        return {who.tenant for who in self._people.values()}


def _names(people: dict[Connection, Person], tenant: str) -> set[str]:
    return {who.name for who in people.values() if who.tenant == tenant}


class Presence:
    """Follows connections, and tells.

    Args:
        broker: can make a user of the system account.
        bus: a connection in the role `web`, to tell pages.
        metrics: is told how many are connected.
        recount: seconds between two looks at all connections.
    """

    def __init__(self, broker: Broker, bus: Bus, metrics: Metrics, *, recount: float = RECOUNT) -> None:
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
        """Who is online of a tenant, as pages are told."""
        names = sorted(self._online.names(tenant))
        return {"online": names[:SHOWN], "count": len(names), "at": round(time.time(), 3)}

    @property
    def tenants(self) -> set[str]:
        """The tenants of which somebody is online."""
        return self._online.tenants

    def reconnected(self) -> None:
        """Events were missed: count again."""
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
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell())
                while True:
                    self._stale.clear()
                    try:
                        await self._count(system)
                    except (ConnectionFailed, BrokerError) as error:
                        _log.debug("connections are not counted: %s", error)
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
        """Ask all servers for all connections. What happens meanwhile is applied once more after it.

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
                    raise ConnectionFailed(f"{servers[server]} does not tell its connections: {error!r}") from error
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
                    _log.debug("presence of %s is not told: %s", tenant, error)
