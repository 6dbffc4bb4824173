"""A page of one tenant cannot reach another, tried by hand on the websocket: the real server refuses."""

from __future__ import annotations

import pytest

from tests.support.clientsync_websocket import RawSocket

UNHEARD = [
    "live.zeta.>",
    "live.*.fax.secret",
    "live.>",
    ">",
    "*.>",
    "obj.>",
    "obj.acme.>",
    "sync.>",
    "sync.acme.pull",
    "rpc.>",
    "rpc.fax.v1.acme.status",
    "rpc.fax.v1.*.status",
    "job.>",
    "event.>",
    "dead.>",
    "beat.>",
    "_INBOX.>",
    "_INBOX.*.>",
    "_INBOX.UAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.>",
    "$JS.>",
    "$JS.EVENT.>",
    "$KV.>",
    "$SYS.>",
    "$SRV.>",
    "$O.>",
]
UNSAID = [
    "sync.zeta.pull",
    "sync.zeta.submit.fax.send",
    "rpc.fax.zeta.status",
    "rpc.fax.v1.zeta.status",
    "job.fax.zeta.send",
    "job.fax.v1.3.zeta.send",
    "job.fax.acme.send",
    "job.fax.v1.3.acme.send",
    "obj.zeta.fax.secret",
    "obj.acme.fax.1",
    "live.zeta.head",
    "live.acme.head",
    "live.acme.fax.1",
    "event.zeta.x",
    "event.acme.x",
    "dead.fax.acme.send",
    "beat.fax.v1.w1",
    "$JS.API.INFO",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.OBJECTS",
    "$JS.API.STREAM.PURGE.OBJECTS",
    "$JS.API.DIRECT.GET.OBJECTS",
    "$JS.API.DIRECT.GET.OBJECTS.obj.zeta.fax.secret",
    "$JS.API.STREAM.MSG.GET.OBJECTS",
    "$JS.API.CONSUMER.CREATE.OBJECTS",
    "$KV.CONTROL.service.fax",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.SERVER.PING",
    "$SRV.PING",
    "_INBOX.UAAAA.1",
    "sync.acme.pull.zeta",
]


@pytest.fixture
async def stolen(bus, site):
    """A socket with a token of tenant acme, while tenant zeta has something worth stealing."""
    await bus.bus.js.add_stream(name="JOBS_fax", subjects=["job.fax.*.*.*.*"])
    await bus.broker.set_routes({"fax": {"v1": 100}})
    await bus.tenant("zeta").objects.put("fax", "secret", {"to": "somebody"})
    session = await site.session("acme", "eve")
    socket = await RawSocket.connect(session["url"], session["jwt"])
    yield socket, session
    await socket.close()


async def test_what_its_own_tenant_has_is_open(stolen):
    socket, session = stolen
    assert await socket.may_subscribe("live.acme.>")
    assert await socket.may_subscribe(f"{session['inbox']}.>")
    for subject in ("sync.acme.pull", "sync.acme.submit.fax.send", "rpc.fax.acme.status"):
        assert await socket.may_publish(subject, f"{session['inbox']}.1")


async def test_what_others_are_told_it_cannot_hear(stolen):
    socket, _ = stolen
    assert [subject for subject in UNHEARD if await socket.may_subscribe(subject)] == []


async def test_what_is_not_for_it_it_cannot_say(stolen):
    socket, _ = stolen
    assert [subject for subject in UNSAID if await socket.may_publish(subject)] == []


async def test_another_tenants_changes_never_reach_its_socket(bus, stolen):
    socket, session = stolen
    await socket.may_subscribe("live.acme.>")
    await socket.may_subscribe(f"{session['inbox']}.>")
    await bus.tenant("zeta").objects.put("fax", "secret", {"to": "somebody else"})
    await bus.tenant("acme").objects.put("fax", "ours", {"to": "us"})
    await bus.bus.flush()
    await socket.may_publish("sync.acme.pull", f"{session['inbox']}.1")
    while not any('"changes"' in line for line in socket.said):
        await socket.settle()
    heard = "\n".join(socket.said)
    assert "ours" in heard
    assert "secret" not in heard
    assert "zeta" not in heard
    assert "somebody" not in heard


async def test_headers_of_a_change_hold_nothing_that_its_writer_did_not_mean_for_pages(bus, stolen):
    """RePublish passes headers on: ours say that it was deleted and for how long that is kept, nothing else."""
    socket, _ = stolen
    await socket.may_subscribe("live.acme.>")
    await bus.tenant("acme").objects.put("fax", "a", {}, expect=0)
    await bus.tenant("acme").objects.delete("fax", "a")
    await bus.bus.flush()
    while not any("Headway-Operation" in line for line in socket.said):
        await socket.settle()
    headers = {line.split(":")[0] for line in socket.said if ": " in line and not line.startswith("{")}
    assert headers <= {
        "Nats-Stream",
        "Nats-Subject",
        "Nats-Sequence",
        "Nats-Time-Stamp",
        "Nats-Last-Sequence",
        "Nats-TTL",
        "Headway-Operation",
        "Nats-Expected-Last-Subject-Sequence",
    }


async def test_too_many_subscriptions_and_too_large_messages_are_refused(stolen):
    socket, session = stolen
    for n in range(70):
        await socket.may_subscribe(f"live.acme.fax.f{n}")
    assert any("maximum subscriptions exceeded" in line for line in socket.said)
    size = 64 * 1024 + 1
    socket.send(f"PUB sync.acme.pull {session['inbox']}.1 {size}\r\n")
    await socket.until_closed()
    assert any("maximum payload" in line.lower() for line in socket.said)
