"""A page as a Python program: the reference client on a real connection, which can be made to lose what arrives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from headway.broker.broker import Broker
from headway.bus.client.objects import is_tombstone
from headway.bus.tasks import end
from headway.clientsync.replica import Replica


class Refused(Exception):
    """Attributes: status: what the error headers say."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Site:
    broker: Broker
    url: str
    http: httpx.AsyncClient

    async def token(self, tenant: str, user: str) -> str:
        reply = await self.http.post("/dev/token", json={"tenant": tenant, "user": user})
        assert reply.status_code == 200, reply.text
        return reply.json()["token"]

    async def session(self, tenant: str = "acme", user: str = "ada") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {await self.token(tenant, user)}"}
        reply = await self.http.post("/session", headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()


class Page:
    """Attributes: replica: its store; closed: set when the server has let it go; loses: asked about live messages."""

    def __init__(self, session: dict[str, Any], replica: Replica) -> None:
        self.session = session
        self.replica = replica
        self.closed = asyncio.Event()
        self.loses: Callable[[Msg], bool] = lambda _message: False
        self.lost = 0
        self.presence: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        self.nc: Client

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        session: dict[str, Any],
        *,
        replica: Replica | None = None,
        follow: bool = True,
        reconnect: bool = True,
    ) -> AsyncIterator[Page]:
        page = cls(session, replica or Replica())

        async def on_closed() -> None:
            page.closed.set()

        async def on_reconnect() -> None:
            page.replica.connected(time.monotonic())

        async def on_error(error: Exception) -> None:
            page.errors.append(error)

        page.nc = await nats.connect(
            url.split(","),
            user_jwt_cb=session["jwt"].encode,
            signature_cb=lambda _nonce: b"",
            inbox_prefix=session["inbox"],
            closed_cb=on_closed,
            error_cb=on_error,
            reconnected_cb=on_reconnect,
            allow_reconnect=reconnect,
            reconnect_time_wait=0.1,
            max_reconnect_attempts=-1,
            ping_interval=3,
        )
        following = None
        try:
            if follow:
                await page.nc.subscribe(f"live.{session['tenant']}.>", cb=page._on_live)
                await page.nc.flush()
                page.replica.connected(time.monotonic())
                following = asyncio.ensure_future(page._follow())
            yield page
        finally:
            if following is not None:
                await end([following])
            await page.nc.close()

    async def ask(self, **request: Any) -> dict[str, Any]:
        """One pull, by hand. Raises Refused."""
        return await self.request(f"sync.{self.session['tenant']}.pull", orjson.dumps(request))

    async def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        reply = await self.nc.request(subject, payload, timeout=10, headers=headers)
        found = reply.headers or {}
        if "Nats-Service-Error" in found:
            raise Refused(found["Nats-Service-Error"], int(found["Nats-Service-Error-Code"]))
        return orjson.loads(reply.data)

    async def all(self, **request: Any) -> list[dict[str, Any]]:
        """All pages from the beginning, or from `since`; their replies."""
        replies = [await self.ask(**{"since": 0, **request})]
        while replies[-1]["more"]:
            last = replies[-1]
            position = {"since": last["next"], "epoch": last["epoch"], "base": last["base"]}
            replies.append(await self.ask(**{**request, **position}))
        return replies

    def ids(self, type_: str) -> set[str]:
        return {id_ for kind, id_ in self.replica.view() if kind == type_}

    async def _on_live(self, message: Msg) -> None:
        if self.loses(message):
            self.lost += 1
            return
        parts = message.subject.split(".")
        if parts[2:] == ["head"]:
            self.replica.beacon(orjson.loads(message.data), time.monotonic())
        elif parts[2:] == ["presence"]:
            self.presence.append(orjson.loads(message.data))
        else:
            fields = message.headers or {}
            deleted = is_tombstone(fields)
            value = None if deleted else orjson.loads(message.data)
            self.replica.live(parts[2], parts[3], int(fields["Nats-Sequence"]), value, deleted=deleted)

    async def _follow(self) -> None:
        pause = 0.05
        while True:
            asked = self.replica.request(time.monotonic())
            if asked is not None:
                try:
                    self.replica.reply(await self.ask(**asked))
                    pause = 0.05
                except (Refused, nats.errors.Error, TimeoutError):
                    self.replica.failed()
                    pause = min(2.0, pause * 2)
                    await asyncio.sleep(random.uniform(0, pause))
            await asyncio.sleep(0.02)
