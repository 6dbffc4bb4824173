"""The console on a real server: rows follow what happens, one projector acts, and only operators are let in."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import jwt
import nats
import nats.errors
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm

from headway.bus import Context, Reject, Service
from headway.bus.nats import values
from headway.bus.nats.streams import CONTROL
from headway.bus.tasks import end
from headway.clientsync.errors import NotAllowed
from headway.clientsync.server import Options, serving
from headway.clientsync.web.tokens import Rules, Verifier
from headway.console.access import Access, Roles
from headway.console.web import Console
from headway.control.records import RolloutRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, rollout_key, service_key, version_key


class Machine:
    """A service that refuses jobs until it is repaired."""

    def __init__(self) -> None:
        self.repaired = False
        self.done: list[str] = []

    def service(self) -> Service:
        app = Service("press")

        @app.job("print")
        async def print_(page: str, ctx: Context) -> None:
            if not self.repaired:
                raise Reject(f"out of ink for <b>{page}</b>")
            self.done.append(page)

        return app


@dataclass
class Place:
    """A server with a console, which an operator has come to.

    Attributes:
        http: of client sync, as anybody.
        operator: the headers of the one who is signed in.
    """

    bus: object
    control: Control
    console: Console
    http: httpx.AsyncClient
    operator: dict[str, str]

    async def act(self, headers: dict[str, str] | None = None, **wanted) -> httpx.Response:
        return await self.http.post("/console/act", json=wanted, headers=self.operator if headers is None else headers)

    async def rows(self, kind: str) -> dict[str, dict]:
        return {one.id: one.value for one in await self.bus.bus.records.tenant("headway").objects.list(kind, dict)}


@pytest.fixture
async def place(bus):
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await bus.broker.connect("operator", name="console"))
        console = Console(bus.broker, connection, ws_url=bus.broker.ws_url, holder="one", period=0.1)
        options = Options(ws_url=bus.broker.ws_url, port=0, development=True)
        url = await stack.enter_async_context(serving(bus.broker, options, [console]))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
        access = Access(Control(connection))
        token = (await http.post("/console/sign-in", json={"code": await access.code("ada")})).json()["token"]
        yield Place(bus, Control(bus.bus), console, http, {"Authorization": f"Bearer {token}"})


# What is shown.


async def test_a_worker_a_dead_letter_and_a_release_appear_change_and_go(place, bus, until):
    machine = Machine()
    async with bus.serving(machine.service()):
        await bus.submit("press", "print", "page 1", tenant="acme")

        async def shown():
            workers, letters = await place.rows("worker"), await place.rows("dead")
            service = (await place.rows("service")).get("press")
            return service and workers and letters and (service, workers, letters)

        service, workers, letters = await until(shown)
        assert (service["workers"], service["state"]) == (1, "unwell")
        assert service["note"] == "1 new dead letter in the last five minutes"
        assert [one["service"] for one in workers.values()] == ["press"]
        (letter,) = letters.values()
        assert (letter["tenant"], letter["cause"], letter["preview"]) == ("acme", "rejected", '"page 1"')

        machine.repaired = True
        done = await place.act(do="replay", seqs=[letter["seq"]])
        assert (done.status_code, done.json()) == (200, {"said": f"replayed dead letter {letter['seq']}"})
        await until(lambda: machine.done == ["page 1"])
        await until(lambda: gone(place, "dead"))
    await until(lambda: gone(place, "worker"))
    (action,) = (await place.rows("action")).values()
    assert (action["by"], action["do"], action["ok"]) == ("ada", "replay", True)


async def gone(place: Place, kind: str) -> bool:
    return not await place.rows(kind)


async def test_an_installation_that_does_nothing_writes_nothing_but_a_pulse(place, bus, until):
    async with bus.serving(Machine().service()):
        await until(lambda: has(place, "service", "press"))
        await until(lambda: has(place, "trend", "press"))
        quiet, deadline = 0, time.monotonic() + 30
        while quiet < 15:  # looks in a row without a write; charts move every five seconds
            assert time.monotonic() < deadline, "it goes on writing"
            before = place.console.projector.writes
            await asyncio.sleep(0.1)
            quiet = quiet + 1 if place.console.projector.writes == before else 0
        assert await has(place, "pulse", "projector")


async def has(place: Place, kind: str, name: str) -> bool:
    return name in await place.rows(kind)


async def test_of_two_projectors_one_acts_and_the_other_takes_over_what_is_written(place, bus, until):
    connection = await bus.broker.connect("operator", name="second")
    second = Console(bus.broker, connection, ws_url=bus.broker.ws_url, holder="two", period=0.1)
    running = asyncio.ensure_future(second.run())
    first = place.console.projector.lease

    async def lost() -> bool:
        return False

    try:
        async with bus.serving(Machine().service()):
            await until(lambda: has(place, "service", "press"))
            assert (first.held, second.projector.lease.held, second.projector.writes) == (True, False, 0)
            await bus.bus.records.tenant("headway").objects.put("service", "ghost", {"name": "ghost"})
            first.acquire_or_renew = lost  # as one that can reach nobody
            await first.release()
            await until(lambda: second.projector.lease.held)
        await until(lambda: gone(place, "worker"))
        assert not await has(place, "service", "ghost"), "nobody should have written it"
    finally:
        await end([running])
        await connection.close()


# What is done.


async def released(place: Place, **different) -> None:
    usual = {"service": "press", "version": "v2", "before": "v1", "phase": "judge", "steps": (20, 100)}
    await place.control.put(service_key("press"), ServiceRecord(service="press"))
    for version, weight in (("v1", 80), ("v2", 20)):
        record = VersionRecord(service="press", version=version, app="a:b", root="/", weight=weight)
        await place.control.put(version_key("press", version), record)
    await place.control.put(rollout_key("press"), RolloutRecord(**{**usual, **different}))


async def rollout(place: Place) -> RolloutRecord:
    kept = await place.control.get(rollout_key("press"), RolloutRecord)
    assert kept is not None
    return kept.value


async def test_a_rollout_is_asked_in_the_operators_name(place, until):
    await released(place)
    for do in ("pause", "resume", "promote", "abort"):
        done = await place.act(do=do, service="press")
        assert done.status_code == 200, done.text
    record = await rollout(place)
    assert [(one.what, one.by) for one in record.asked] == [
        ("pause", "ada"),
        ("resume", "ada"),
        ("promote", "ada"),
        ("abort", "ada"),
    ]
    assert (record.abort, record.promoted) == ("aborted by ada", 1)
    await until(lambda: has(place, "rollout", "press"))


async def test_a_refusal_says_why_and_is_remembered(place):
    refused = await place.act(do="promote", service="press")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no_rollout")
    (action,) = (await place.rows("action")).values()
    assert (action["by"], action["ok"], "never rolled out" in action["said"]) == ("ada", False, True)


async def test_of_several_letters_those_that_can_be_are_discarded(place, bus, until):
    async with bus.serving(Machine().service()):
        await bus.submit("press", "print", "page 1", tenant="acme")
        await until(lambda: has(place, "dead", "1"))
        refused = await place.act(do="discard", seqs=[1, 99])
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_all_done")
        assert "discarded 1 of 2" in refused.json()["error"]["message"]
        await until(lambda: gone(place, "dead"))


# Who may.


async def test_nobody_without_a_token_gets_anything(place):
    for path in ("/console/session", "/console/act"):
        assert (await place.http.post(path, json={})).status_code == 401
        assert (await place.http.post(path, headers={"Authorization": "Bearer hwop_guess"})).status_code == 401
    assert (await place.http.post("/console/sign-in", json={"code": "guess"})).status_code == 401
    assert (await place.http.post("/console/sign-in", json={})).status_code == 400


async def test_the_development_issuers_anybody_is_no_operator(place):
    token = (await place.http.post("/dev/token", json={"tenant": "acme", "user": "eve"})).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    session, act = await place.http.post("/console/session", headers=headers), await place.act(headers, do="pause")
    for answer in (session, act):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
        assert "do not open the console" in answer.json()["error"]["message"]
    refused = await place.http.post("/dev/token", json={"tenant": "headway", "user": "eve"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_subject")


async def test_a_code_is_good_once_even_for_two_at_the_same_time(place, bus):
    code = await Access(place.control).code("grace")
    answers = await asyncio.gather(*(place.http.post("/console/sign-in", json={"code": code}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + 7 * [401]


async def test_a_code_ends_with_its_time(place, until):
    code = await Access(place.control).code("grace", 1)
    await asyncio.sleep(1.1)
    assert (await place.http.post("/console/sign-in", json={"code": code})).status_code == 401


async def test_what_is_stored_of_a_code_lets_nobody_in(place, bus):
    code = await Access(place.control).code("grace")
    keys = [message async for message in stored(bus)]
    assert keys
    assert all(code not in key for key in keys)


async def stored(bus):
    async for message in values.since(bus.bus.records.js, CONTROL, "$KV.CONTROL.>"):
        yield message.headers[values.SUBJECT] + message.data.decode()


async def test_who_signs_out_is_out_with_the_connection_too(place, bus):
    session = (await place.http.post("/console/session", headers=place.operator)).json()
    closed = asyncio.Event()
    nc = await join(bus.broker.ws_url, session, closed)
    assert (await place.http.request("DELETE", "/console/session", headers=place.operator)).status_code == 204
    async with asyncio.timeout(30):
        await closed.wait()
    assert nc.is_closed
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await join(bus.broker.ws_url, session, closed)
    assert (await place.act(do="pause", service="x")).status_code == 401


async def test_what_a_page_is_given_can_read_the_consoles_objects_and_nothing_else(place, bus, until):
    session = (await place.http.post("/console/session", headers=place.operator)).json()
    assert (session["tenant"], session["user"]) == ("headway", "ada")
    refused: list[str] = []
    nc = await join(bus.broker.ws_url, session, asyncio.Event(), refused)
    for subject in ("live.acme.>", "live.>", "obj.headway.>", "sync.acme.pull", "$KV.>", "beat.>", "dead.>", ">"):
        await nc.subscribe(subject)
        await until(lambda: refused)
        assert subject.lower() in refused.pop(), subject
    forbidden = (
        "obj.headway.service.fax",
        "sync.acme.pull",
        "sync.headway.submit.fax.send",
        "rpc.fax.headway.status",
        "$KV.CONTROL.rollout.fax",
        "$JS.API.STREAM.LIST",
        "live.headway.head",
    )
    for subject in forbidden:
        await nc.publish(subject, b"{}")
        await until(lambda: refused)
        assert subject.lower() in refused.pop(), subject
    await nc.subscribe("live.headway.>")
    wanted = b'{"types": null, "since": 0, "epoch": null, "limit": 10}'
    pulled = await nc.request("sync.headway.pull", wanted, timeout=30)
    assert b"changes" in pulled.data
    assert refused == []
    await nc.close()


async def join(url, session, closed, refused=None):
    async def on_closed() -> None:
        closed.set()

    async def on_error(error: Exception) -> None:
        if refused is not None:
            refused.append(str(error))

    return await nats.connect(
        url,
        user_jwt_cb=session["jwt"].encode,
        signature_cb=lambda _nonce: b"",
        inbox_prefix=session["inbox"],
        allow_reconnect=False,
        closed_cb=on_closed,
        error_cb=on_error,
        connect_timeout=20,
    )


# Tokens of an application.


@dataclass
class Issuer:
    key: object
    kid: str = "k1"

    def token(self, **claims) -> str:
        now = int(time.time())
        usual = {"iss": "https://id", "aud": "app", "iat": now, "exp": now + 600, "sub": "grace"}
        return jwt.encode({**usual, **claims}, self.key, algorithm="ES256", headers={"kid": self.kid})

    async def find(self, kid):
        return PyJWK.from_dict({**ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": kid, "alg": "ES256"})


@pytest.mark.parametrize(
    ("claims", "roles", "who"),
    [
        ({"role": "operator"}, Roles(), "grace"),
        ({"role": ["reader", "operator"]}, Roles(), "grace"),
        ({"realm": {"roles": ["admin"]}}, Roles("realm.roles", operator="admin"), "grace"),
        ({"role": "reader"}, Roles(), None),
        ({"role": "operators"}, Roles(), None),
        ({"tenant": "acme"}, Roles(), None),
        ({"role": {"operator": True}}, Roles(), None),
        ({"role": "operator"}, None, None),
        ({"role": "operator", "sub": ""}, Roles(), None),
    ],
)
async def test_a_token_of_the_application_opens_the_console_by_its_role_alone(claims, roles, who):
    issuer = Issuer(generate_private_key(SECP256R1()))
    verifier = Verifier(Rules("https://id", "app"), issuer)
    access = Access(None)  # type: ignore[arg-type]  # tokens of an application are checked without any record
    if who is None:
        with pytest.raises(NotAllowed):
            await access.entrant(issuer.token(**claims), verifier, roles)
    else:
        assert (await access.entrant(issuer.token(**claims), verifier, roles)).who.user == who


async def test_a_tenants_token_that_names_the_console_opens_no_session():
    issuer = Issuer(generate_private_key(SECP256R1()))
    verifier = Verifier(Rules("https://id", "app"), issuer)
    with pytest.raises(NotAllowed, match="console"):
        await verifier.verify(issuer.token(tenant="headway"))
    assert (await verifier.verify(issuer.token(tenant="acme"))).tenant == "acme"
