"""The clients' account: what a client publishes is done and answered, and acknowledging it changes nothing of others.

JetStream acknowledges to whatever reply subject a publisher names, with rights of its own. On the design before, where
clients were users of the application account, the attack below wrote to OBJECTS, EVENTS and JOBS_fax of another tenant.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from nats.aio.msg import Msg

from headway.broker import testing
from headway.broker.testing import TestBus
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.context import Context
from headway.bus.errors import ConnectionFailed, HeadwayError, InvalidInput, NotServed, Reject, Rejected
from headway.bus.service import Service
from headway.bus.worker.worker import Worker

SENT = ("job.fax.acme.send", "later.fax.acme.send", "event.acme.call.ended")
UNSERVED = (
    "obj.globex.call.x",
    "$KV.CONTROL.service.fax",
    "$KV.ATTEMPTS.fax.x",
    "$O.BLOBS.M.x",
    "dead.fax.globex.send",
    "beat.fax.v1.w1",
    "live.globex.call.x",
    "sync.globex.pull",
    "$JS.API.STREAM.PURGE.OBJECTS",
    "$SRV.PING",
    "_INBOX.SOMEBODY.1",
)
SERVED = (
    "event.globex.call.ended",
    "job.fax.globex.send",
    "job.fax.v1.0.globex.send",
    "rpc.fax.globex.say",
    "rpc.fax.v1.globex.say",
)


@dataclass
class Fax:
    """A service, and what it was given to do."""

    version: str = "v1"
    tenants: list[str] = field(default_factory=list)
    jobs: int = 0
    waiting: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self) -> Service:
        service = Service("fax")

        @service.rpc("say")
        async def say(request: Any, ctx: Context) -> Any:
            self.tenants.append(ctx.tenant)
            if request == "no":
                raise Reject("not this one")
            return request

        @service.rpc("version")
        async def version(request: str) -> str:
            return self.version

        @service.rpc("wait")
        async def wait(request: int) -> int:
            self.waiting += 1
            await self.go.wait()
            return request

        @service.job("send")
        async def send(request: Any, ctx: Context) -> None:
            self.tenants.append(ctx.tenant)
            self.jobs += 1

        @service.on("call.ended")
        async def ended(request: Any, ctx: Context) -> None:
            self.tenants.append(ctx.tenant)

        return service


async def sequences(bus: Bus) -> dict[str, int]:
    """The last sequence of each stream: it grows by one for each message, whatever becomes of it."""
    return {info.config.name: info.state.last_seq for info in await bus.js.streams_info()}


async def attack(operator: Bus, client: Bus, fax: Fax, until: Any) -> None:
    """Have jobs and events of acme acknowledged to everybody's subjects, and see that nobody is told anything."""
    heard: list[str] = []

    async def note(message: Msg) -> None:
        heard.append(message.subject)

    for subject in UNSERVED:
        await operator.nc.subscribe(subject, cb=note)
    await operator.flush()
    before = await sequences(operator)
    for sent in SENT:
        for reply in (*UNSERVED, *SERVED):
            await client.nc.publish(sent, b'"x"', reply=reply)
    # A stream acknowledges in order: after these all others have been.
    await client.submit("fax", "send", "last", tenant="acme")
    await client.submit("fax", "send", "last", tenant="acme", delay=0)
    await client.emit("call.ended", "last", tenant="acme")
    assert await client.call("fax", "say", "after all", tenant="acme") == "after all"
    after = await sequences(operator)
    own = len(UNSERVED) + len(SERVED) + 1
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {"JOBS_fax": own, "LATER": own, "EVENTS": own}
    await until(lambda: fax.tenants.count("acme") >= 2 * own + 1)
    assert set(fax.tenants) == {"acme"}
    await operator.flush()
    assert heard == []


async def test_an_acknowledgement_that_is_sent_to_anothers_subject_changes_nothing(bus: TestBus, until: Any) -> None:
    fax = Fax()
    async with bus.serving(fax.service()), await bus.broker.connect("client", tenant="acme") as client:
        await bus.tenant("globex").objects.put("call", "x", {"kept": True})
        await attack(bus.bus, client, fax, until)
        assert await bus.tenant("globex").objects.get("call", "x", as_=dict)


@pytest.mark.parametrize("reply", ["$JS.ACK.JOBS_fax.v1-0.1.1.1.1.0", "_R_.abc.def"])
async def test_a_reply_subject_of_the_servers_own_is_refused(bus: TestBus, reply: str) -> None:
    async with bus.serving(Fax().service()), await bus.broker.connect("client", tenant="acme") as client:
        await client.nc.publish("job.fax.acme.send", b'"x"', reply=reply)
        await client.flush()
        assert (await client.submit("fax", "send", "y", tenant="acme")).seq == 1


async def work(client: Bus) -> None:
    """All that a client may do."""
    acme = client.tenant("acme")
    large = "x" * 600_000
    assert await acme.call("fax", "say", large) == large
    with pytest.raises(Rejected, match="not this one"):
        await acme.call("fax", "say", "no")
    with pytest.raises(InvalidInput):
        await acme.call("fax", "wait", "no number")
    first, again = [await acme.submit("fax", "send", {}, key="k1") for _ in range(2)]
    assert (first.stream, first.duplicate) == ("JOBS_fax", False)
    assert (again.seq, again.duplicate) == (first.seq, True)
    first, again = [await acme.emit("call.ended", {}, key="k1") for _ in range(2)]
    assert (first.stream, first.duplicate, again.duplicate) == ("EVENTS", False, True)


async def test_a_client_can_do_all_of_its_work(bus: TestBus) -> None:
    async with bus.serving(Fax().service()), await bus.broker.connect("client", tenant="acme") as client:
        await work(client)


async def test_a_client_is_told_at_once_that_nobody_serves_what_it_asks_for(bus: TestBus) -> None:
    async with bus.serving(Fax().service()), await bus.broker.connect("client", tenant="acme") as client:
        for service, operation in (("nobody", "say"), ("fax", "unknown")):
            with pytest.raises(NotServed):
                await client.call(service, operation, "x", tenant="acme", timeout=600)
        with pytest.raises(NotServed):
            await client.submit("nobody", "send", "x", tenant="acme", timeout=0.1)


async def test_calls_and_jobs_of_clients_are_split_as_the_routes_say(bus: TestBus, until: Any) -> None:
    old, new = Fax("v1"), Fax("v2")
    async with (
        bus.serving(old.service(), version="v1"),
        bus.serving(new.service(), version="v2", weights={"v1": 70, "v2": 30}),
        await bus.broker.connect("client", tenant="acme") as client,
    ):
        answers = Counter([await client.call("fax", "version", "", tenant="acme") for _ in range(500)])
        for _ in range(500):
            await client.submit("fax", "send", "x", tenant="acme")
        await until(lambda: old.jobs + new.jobs == 500)
    for share in (answers["v2"], new.jobs):
        assert 98 <= share <= 202  # 150 are expected; 5 standard deviations are 51


async def test_calls_that_are_under_way_while_routes_change_are_answered(bus: TestBus, until: Any) -> None:
    """A server forgets who waits for a service's answer when it takes a new token of the account that exports it."""
    fax = Fax()
    async with bus.serving(fax.service()), await bus.broker.connect("client", tenant="acme") as client:
        calls = [asyncio.create_task(client.call("fax", "wait", n, tenant="acme", timeout=30)) for n in range(20)]
        await until(lambda: fax.waiting == 20)
        for weight in range(1, 10):
            await bus.broker.set_routes({"fax": {"v1": 100}, "other": {"v1": weight, "v2": 100 - weight}})
        fax.go.set()
        assert await asyncio.gather(*calls) == list(range(20))


async def test_jobs_that_are_submitted_while_routes_change_are_stored_once(bus: TestBus) -> None:
    """An acknowledgement may be lost then; the same message id makes it safe to ask for it again."""
    fax = Fax()
    async with bus.serving(fax.service()), await bus.broker.connect("client", tenant="acme") as client:
        done = False

        async def submit() -> int:
            count = 0
            while not done:
                await client.submit("fax", "send", "x", tenant="acme", timeout=30)
                count += 1
            return count

        submitting = [asyncio.create_task(submit()) for _ in range(8)]
        for weight in range(1, 40):
            await bus.broker.set_routes({"fax": {"v1": 100}, "other": {"v1": weight, "v2": 100 - weight}})
        done = True
        submitted = sum(await asyncio.gather(*submitting))
        assert (await sequences(bus.bus))["JOBS_fax"] == submitted


async def test_a_client_that_is_revoked_is_cut_off(bus: TestBus, until: Any) -> None:
    made = bus.broker.identities.mint("client", tenant="acme")
    async with await connect(bus.url, creds=made.text) as client:
        await bus.broker.revoke([made.public_key])
        await until(lambda: not client.nc.is_connected)
    await until(lambda: _refused(bus.url, made.text))


async def test_in_a_cluster_all_that_holds_as_well_and_after_a_server_was_restarted(until: Any) -> None:
    """The client is on one server, the worker on the next one, and streams are led by the third."""
    fax = Fax()
    async with testing.cluster() as cluster:
        first, second, third = (server.url for server in cluster.servers)
        creds = cluster.broker.identities.creds
        async with (
            await connect(third, creds=creds("operator")) as operator,
            await connect(second, creds=creds("worker", service="fax")) as serving,
            await connect(first, creds=creds("client", tenant="acme")) as client,
            Worker(fax.service(), serving, version="v1"),
        ):
            await cluster.broker.set_routes({"fax": {"v1": 100}})
            await _led_by(operator, cluster.servers[2].config.name, ("JOBS_fax", "EVENTS"))
            await until(lambda: _served(client))
            await work(client)
            fax.tenants.clear()
            await attack(operator, client, fax, until)
            calls = [asyncio.create_task(client.call("fax", "wait", n, tenant="acme", timeout=60)) for n in range(9)]
            await until(lambda: fax.waiting == 9)
            for weight in range(1, 10):
                await cluster.broker.set_routes({"fax": {"v1": 100}, "other": {"v1": weight, "v2": 100 - weight}})
            fax.go.set()
            assert await asyncio.gather(*calls) == list(range(9))
            await cluster.servers[0].restart()
            await until(lambda: _served(client))
            assert (await client.submit("fax", "send", "again", tenant="acme", timeout=60)).stream == "JOBS_fax"


async def _refused(url: str, creds: str) -> bool:
    """Whether the server does not take credentials, and it is said what to do."""
    try:
        async with await connect(url, creds=creds, timeout=1):
            return False
    except ConnectionFailed as error:
        return "issue new ones" in error.remedy


async def _led_by(operator: Bus, server: str, streams: Sequence[str]) -> None:
    """Have a server lead streams."""
    async with asyncio.timeout(60):
        for stream in streams:
            while (info := await operator.js.stream_info(stream)).cluster is None or info.cluster.leader != server:
                ask = b'{"placement": {"preferred": "%s"}}' % server.encode()
                await operator.nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", ask, timeout=10)
                await asyncio.sleep(0.2)


async def _served(client: Bus) -> bool:
    """Whether calls get through: servers tell each other of subscriptions and accounts in the background."""
    try:
        return bool(await client.call("fax", "say", "hi", tenant="acme", timeout=2) == "hi")
    except HeadwayError:
        return False
