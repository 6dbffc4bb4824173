"""Roles: what each one may and may not do, as the real server judges it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats
import nkeys
import pytest
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg

from headway.broker.broker import Broker
from headway.broker.claims import User as UserClaims
from headway.broker.claims import decode, encode
from headway.broker.identity import Credentials, user_of
from headway.broker.testing import TestBus
from headway.bus.client import dead
from headway.bus.client.connection import connect
from headway.bus.context import Context
from headway.bus.errors import ConnectionFailed, NotServed, Reject
from headway.bus.nats import streams
from headway.bus.service import Service


class User:
    """A connection that keeps what the server refused it."""

    def __init__(self, nc: Client, refused: list[str]) -> None:
        self.nc = nc
        self.refused = refused

    async def may_publish(self, subject: str) -> bool:
        self.refused.clear()
        await self.nc.publish(subject, b"{}")
        await self._judged()
        return not self.refused

    async def may_subscribe(self, subject: str, queue: str = "") -> bool:
        self.refused.clear()
        subscription = await self.nc.subscribe(subject, queue=queue)
        await self._judged()
        allowed = not self.refused
        if allowed:
            await subscription.unsubscribe()
        return allowed

    async def _judged(self) -> None:
        """The server's refusal comes before its answer to a ping; nats-py's first ping overtakes what is buffered."""
        await self.nc.flush()
        await self.nc.flush()


@asynccontextmanager
async def connected(broker: Broker, made: Credentials) -> AsyncIterator[User]:
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            refused.append(str(error))

    nc = await nats.connect(
        broker.ws_url if user_of(made.text).iss in {broker.identities.role_key(role) for role in PAGES} else broker.url,
        user_credentials=RawCredentials(made.text),
        inbox_prefix=f"_INBOX.{made.public_key}",
        error_cb=on_error,
    )
    try:
        yield User(nc, refused)
    finally:
        await nc.close()


PAGES = ("browser", "console")
ROLES: dict[str, dict[str, str]] = {
    "worker": {"service": "fax"},
    "client": {"tenant": "acme"},
    "browser": {"tenant": "acme"},
    "web": {},
    "control": {},
    "console": {},
}

MAY_PUBLISH = {
    "worker": [
        *("rpc.calls.acme.route", "job.fax.acme.send", "job.fax.v1.3.acme.send", "later.fax.acme.send"),
        *(
            "event.acme.call.ended",
            "obj.acme.fax.1",
            "dead.fax.acme.send",
            "beat.fax.v1.w1",
            "$KV.ATTEMPTS.fax.{seal}.JOBS_fax.1",
        ),
        *(
            "queues.fax.v1",
            "$JS.API.CONSUMER.MSG.NEXT.JOBS_fax.v1-0",
            "$JS.ACK.JOBS_fax.v1-0.1.1.1.1.0",
        ),
        *("$JS.API.CONSUMER.MSG.NEXT.EVENTS.fax_call_ended", "$JS.API.DIRECT.GET.OBJECTS", "_INBOX.SOMEBODY.1"),
    ],
    "client": ["rpc.fax.acme.status", "job.fax.acme.send", "later.fax.acme.send", "event.acme.call.ended"],
    "browser": ["sync.acme.pull", "sync.acme.submit.fax.send", "rpc.fax.acme.status"],
    "web": [
        *(
            "job.fax.acme.send",
            "job.fax.v1.3.acme.send",
            "live.acme.conflict",
            "live.acme.head",
            "live.acme.presence",
            "_INBOX.SOMEBODY.1",
        ),
        *("$JS.API.DIRECT.GET.OBJECTS", "$JS.API.STREAM.INFO.OBJECTS", "$JS.API.STREAM.MSG.GET.OBJECTS"),
    ],
    "control": [
        *("$JS.API.STREAM.LIST", "$JS.API.STREAM.CREATE.EVENTS", "$KV.CONTROL.service.fax", "dead.fax.acme.send"),
        *("rpc.fax.v2.acme.status", "job.fax.v1.3.acme.send", "rpc.fax.headway-probe.probe-1"),
        "job.fax.acme.send",
    ],
    "console": ["sync.headway.pull"],
}
MAY_NOT_PUBLISH = {
    "worker": [
        *("rpc.calls.v1.acme.route", "direct.calls.v1.acme.route"),
        *(
            "dead.calls.acme.route",
            "beat.calls.v1.w1",
            "$KV.ATTEMPTS.calls.JOBS_calls.1",
            "$KV.ATTEMPTS.fax.JOBS_fax.1",
            "$KV.CONTROL.service.fax",
        ),
        *("queues.calls.v1", "$JS.API.STREAM.CREATE.JOBS_fax", "$JS.API.STREAM.UPDATE.JOBS_fax"),
        *("$JS.API.CONSUMER.CREATE.JOBS_fax.v1-0", "$JS.API.CONSUMER.CREATE.EVENTS.fax_call_ended"),
        *("$JS.API.CONSUMER.DURABLE.CREATE.JOBS_fax.v1-0", "$JS.API.CONSUMER.CREATE.OBJ_BLOBS"),
        *("$JS.API.STREAM.CREATE.JOBS_calls", "$JS.API.STREAM.DELETE.JOBS_fax", "$JS.API.STREAM.PURGE.JOBS_fax"),
        *(
            "$JS.API.CONSUMER.MSG.NEXT.JOBS_calls.v1-0",
            "$JS.ACK.JOBS_calls.v1-0.1.1.1.1.0",
            "$JS.API.STREAM.CREATE.EVENTS",
        ),
        *("$SYS.REQ.CLAIMS.UPDATE", "live.acme.fax.1", "sync.acme.pull", "anything"),
        "obj.headway.service.fax",
    ],
    "client": [
        *("rpc.fax.other.status", "job.fax.other.send", "job.fax.v1.0.other.send", "event.other.call.ended"),
        *("rpc.fax.v1.acme.status", "direct.fax.v1.acme.status", "later.fax.other.send"),
        "job.fax.v1.0.acme.send",  # the version and the lane are the routes' to say
        *("obj.acme.fax.1", "live.acme.fax.1", "dead.fax.acme.send", "beat.fax.v1.w1", "sync.acme.pull"),
        *("$JS.API.STREAM.LIST", "$JS.API.DIRECT.GET.OBJECTS", "_INBOX.SOMEBODY.1", "rpc.acme.other.status"),
    ],
    "browser": [
        *("sync.other.pull", "sync.acme.push", "sync.other.submit.fax.send", "obj.acme.fax.1", "live.acme.fax.1"),
        *("rpc.fax.other.status", "rpc.fax.v1.other.status", "rpc.acme.other.status", "rpc.fax.acme.other.status"),
        *("rpc.fax.v1.acme.status", "direct.fax.v1.acme.status"),
        # Not even its own tenant's jobs: the server would acknowledge them to any reply subject.
        *("job.fax.acme.send", "job.fax.v1.3.acme.send", "job.fax.other.send", "event.acme.call.ended"),
        *("$JS.API.STREAM.LIST", "$JS.API.DIRECT.GET.OBJECTS", "$SRV.PING", "_INBOX.SOMEBODY.1"),
    ],
    "web": [
        *("obj.acme.fax.1", "live.acme.fax.1", "rpc.fax.acme.status", "event.acme.call.ended", "dead.fax.acme.send"),
        *("$JS.API.STREAM.LIST", "$JS.API.STREAM.DELETE.OBJECTS", "$JS.API.STREAM.PURGE.OBJECTS"),
        *("$JS.API.STREAM.MSG.DELETE.OBJECTS", "$JS.API.DIRECT.GET.KV_CONTROL", "$KV.CONTROL.service.fax"),
        *("$JS.API.CONSUMER.CREATE.OBJECTS", "$SYS.REQ.CLAIMS.UPDATE"),
    ],
    "control": [
        "later.fax.acme.send",
        "event.acme.call.ended",
        "obj.acme.fax.1",
        "rpc.fax.acme.status",
        "live.acme.head",
        "$SYS.REQ.SERVER.PING",
    ],
    "console": [
        *("sync.acme.pull", "sync.headway.submit.fax.send", "obj.headway.service.fax", "live.headway.head"),
        *("rpc.fax.headway.status", "job.fax.acme.send", "$KV.CONTROL.rollout.fax", "$JS.API.STREAM.LIST"),
        "_INBOX.SOMEBODY.1",
    ],
}
MAY_SUBSCRIBE = {
    "worker": ["rpc.fax.v1.*.status", "direct.fax.v1.*.status", "$SRV.PING", "$SRV.*.fax", "$SRV.INFO.fax.w1"],
    "client": [],
    "browser": ["live.acme.>", "live.acme.fax.*"],
    "web": ["sync.*.pull", "sync.*.submit.*.*"],
    "control": ["beat.>", "$JS.EVENT.ADVISORY.>", "rpc.fax.*.headway-probe.probe-1"],
    "console": ["live.headway.>"],
}
MAY_NOT_SUBSCRIBE = {
    "worker": [
        ">",
        "rpc.calls.v1.*.route",
        "direct.calls.v1.*.route",
        "_INBOX.>",
        "_INBOX.SOMEBODY.>",
        "job.>",
        "event.>",
        "live.>",
        "$SRV.*.calls",
    ],
    "client": [">", "_INBOX.>", "rpc.>", "direct.>", "rpc.fax.v1.acme.status", "event.acme.>", "live.acme.>", "beat.>"],
    "browser": [
        *(">", "live.>", "live.*.fax.1", "live.other.>", "live.headway.>", "_INBOX.>", "obj.acme.>"),
        *("event.acme.>", "sync.acme.pull"),
        *("rpc.fax.v1.acme.status", "rpc.>", "job.>", "$JS.>", "$SRV.>"),
    ],
    "web": [">", "_INBOX.>", "live.>", "obj.>", "sync.>", "rpc.>", "job.>", "$JS.EVENT.ADVISORY.>"],
    "control": [">", "_INBOX.>", "rpc.>", "rpc.fax.v1.acme.status", "job.>", "event.>", "live.>", "$SYS.>"],
    "console": [">", "_INBOX.>", "live.>", "live.acme.>", "obj.headway.>", "beat.>", "$KV.>", "sync.headway.pull"],
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_its_work_and_nothing_else(nats_broker: Broker, role: str) -> None:
    made = nats_broker.identities.mint(role, **ROLES[role])  # type: ignore[arg-type]
    may_publish = [subject.replace("{seal}", nats_broker.identities.seal("fax")) for subject in MAY_PUBLISH[role]]
    async with connected(nats_broker, made) as user:
        assert [s for s in may_publish if not await user.may_publish(s)] == []
        assert [s for s in MAY_NOT_PUBLISH[role] if await user.may_publish(s)] == []
        allowed = [*MAY_SUBSCRIBE[role], f"_INBOX.{made.public_key}.>"]
        assert [s for s in allowed if not await user.may_subscribe(s)] == []
        assert [s for s in MAY_NOT_SUBSCRIBE[role] if await user.may_subscribe(s)] == []


async def test_the_rights_of_a_client_are_the_same_while_a_route_maps_its_subjects(nats_broker: Broker) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}})
    async with connected(nats_broker, nats_broker.identities.mint("client", tenant="acme")) as user:
        for subject in ("rpc.fax.acme.status", "job.fax.acme.send"):
            assert await user.may_publish(subject)
        for subject in ("rpc.fax.other.status", "job.fax.other.send"):
            assert not await user.may_publish(subject)


async def test_the_operator_has_the_whole_account_and_nothing_of_the_system(nats_broker: Broker) -> None:
    async with connected(nats_broker, nats_broker.identities.mint("operator")) as user:
        assert await user.may_subscribe(">")
        assert await user.may_publish("anything.at.all")
        with pytest.raises(nats.errors.NoRespondersError):
            await user.nc.request("$SYS.REQ.CLAIMS.UPDATE", b"x", timeout=1)


async def test_a_browser_sees_changes_of_its_own_tenant_only(nats_broker: Broker) -> None:
    seen: list[str] = []
    arrived = asyncio.Event()

    async def on_change(message: Msg) -> None:
        seen.append(message.subject)
        arrived.set()

    made = nats_broker.identities.mint("browser", tenant="acme")
    async with connected(nats_broker, made) as user, await nats_broker.connect("operator") as bus:
        await user.nc.subscribe("live.acme.>", cb=on_change)
        await user.nc.flush()
        await bus.tenant("other").objects.put("fax", "1", {"pages": 1})
        await bus.tenant("acme").objects.put("fax", "2", {"pages": 2})
        async with asyncio.timeout(5):
            await arrived.wait()
    assert seen == ["live.acme.fax.2"]


async def test_a_browser_needs_no_key_but_nobody_else_gets_in_without(nats_broker: Broker) -> None:
    async def with_token_alone(url: str, made: Credentials) -> None:
        nc = await nats.connect(
            url,
            user_jwt_cb=made.jwt.encode,
            signature_cb=lambda _nonce: b"",
            allow_reconnect=False,
            error_cb=_ignore,
        )
        await nc.close()

    await with_token_alone(nats_broker.ws_url, nats_broker.identities.mint("browser", tenant="acme"))
    with pytest.raises(nats.errors.Error):
        await with_token_alone(nats_broker.url, nats_broker.identities.mint("client", tenant="acme"))


@pytest.mark.parametrize("role", PAGES)
async def test_a_bearer_token_opens_the_websocket_listener_alone(nats_broker: Broker, role) -> None:
    made = nats_broker.identities.mint(role, **ROLES[role])
    options = {"user_jwt_cb": made.jwt.encode, "signature_cb": lambda _nonce: b"", "error_cb": _ignore}
    await (await nats.connect(nats_broker.ws_url, allow_reconnect=False, **options)).close()
    with pytest.raises(nats.errors.Error):
        await nats.connect(nats_broker.url, allow_reconnect=False, **options)


async def _ignore(_error: Exception) -> None: ...


async def test_credentials_end_when_they_expire(nats_broker: Broker) -> None:
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    made = nats_broker.identities.mint("client", tenant="acme", expires=timedelta(seconds=1.5))
    nc = await nats.connect(
        nats_broker.url,
        user_credentials=RawCredentials(made.text),
        allow_reconnect=False,
        error_cb=_ignore,
        closed_cb=on_closed,
    )
    async with asyncio.timeout(5):
        await closed.wait()
    assert nc.is_closed


async def test_a_token_is_worth_nothing_without_its_key(nats_broker: Broker) -> None:
    token = nats_broker.identities.mint("client", tenant="acme")
    key = nats_broker.identities.mint("client", tenant="acme")
    stolen = replace(token, seed=key.seed)
    with pytest.raises(ConnectionFailed):
        await connect(nats_broker.url, creds=stolen.text, timeout=0.5)


async def test_a_token_that_somebody_else_signed_is_refused(nats_broker: Broker) -> None:
    forger = nkeys.from_seed(nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_ACCOUNT))
    made = nats_broker.identities.mint("operator")
    claims = decode(made.jwt, UserClaims)
    forged = replace(made, jwt=encode(claims, forger))
    with pytest.raises(ConnectionFailed):
        await connect(nats_broker.url, creds=forged.text, timeout=0.5)


async def test_a_worker_can_do_all_of_its_work_in_its_role(bus: TestBus) -> None:
    """Streams, consumers, acks, dead letters, objects, blobs, events, calls and jobs of another service."""
    fax, calls = Service("fax"), Service("calls")
    done = asyncio.Event()

    @calls.rpc("route")
    async def route(request: str) -> str:
        return request.upper()

    @calls.job("log")
    async def log(request: str) -> None:
        done.set()

    @fax.job("send")
    async def send(request: str, ctx: Context) -> None:
        assert await ctx.call("calls", "route", "x", returns=str) == "X"
        revision = await ctx.objects.put("fax", "1", {"pages": 1})
        assert await ctx.objects.get("fax", "1", as_=dict)
        assert len(await ctx.objects.list("fax", as_=dict)) == 1
        await ctx.objects.delete("fax", "1", expect=revision)
        await ctx.blobs.put("page", b"x" * 300_000)
        assert len(await ctx.blobs.get("page")) == 300_000
        await ctx.blobs.delete("page")
        await ctx.emit("fax.sent", "x")
        await ctx.submit("calls", "log", "x")

    @fax.job("fail")
    async def fail(request: str) -> None:
        raise Reject("never")

    heard: list[str] = []

    @fax.on("fax.sent")
    async def sent(request: str) -> None:
        heard.append(request)

    async with bus.serving(calls), bus.serving(fax):
        await bus.submit("fax", "send", "x")
        await bus.submit("fax", "fail", "x")
        async with asyncio.timeout(10):
            await done.wait()
    letters = [letter async for letter in dead.list_(bus.bus.js)]
    assert [(letter.operation, letter.cause) for letter in letters] == [("fail", "rejected")]
    assert heard == ["x"]


async def test_the_shared_streams_are_made_with_the_control_role(nats_broker: Broker) -> None:
    async with await nats_broker.connect("control") as bus:
        await streams.provision(bus.js)
        found = {info.config.name for info in await bus.js.streams_info()}
    assert found == {"EVENTS", "LATER", "OBJECTS", "DEAD", "KV_ATTEMPTS", "OBJ_BLOBS"}


async def test_the_nats_cli_works_with_an_operators_credentials(bus: TestBus, nats_cli) -> None:
    service = Service("echo")

    @service.rpc("say")
    async def say(request: str) -> str:
        return request

    @service.job("keep")
    async def keep(request: str) -> None: ...

    async with bus.serving(service):
        assert "JOBS_echo" in await nats_cli(bus.broker, "stream", "ls", "--names")
        assert "echo" in await nats_cli(bus.broker, "micro", "ls")
        assert '"hi"' in await nats_cli(bus.broker, "req", "rpc.echo.acme.say", '"hi"')
        assert '"stream":"JOBS_echo"' in await nats_cli(bus.broker, "req", "job.echo.acme.keep", '"hi"')


async def test_an_external_server_is_used_with_what_was_given(nats_broker: Broker, tmp_path: Path) -> None:
    creds = tmp_path / "given.creds"
    creds.write_text(nats_broker.identities.creds("operator"))
    there = Broker.external(nats_broker.url, creds=creds)
    async with await there.connect("control") as bus:
        with pytest.raises(NotServed):
            await bus.call("fax", "status", {}, tenant="acme")
        assert (await bus.js.stream_info("EVENTS")).config.name == "EVENTS"
