"""`ctx.user`: a handler is told the person that a page's call or job is from, and nobody can name another one."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import pytest

from headway.broker.identity import Identities
from headway.bus import Reject, Retry, Service
from headway.bus.client import dead
from headway.bus.context import Context
from headway.bus.wire import headers, proof
from headway.bus.wire.proof import User
from headway.clientsync.proofs import Proofs
from headway.clientsync.web.tokens import Rules, SignedIn
from tests.integration.clientsync.test_clientsync_sessions import AUDIENCE, Issuer, ask
from tests.support.clientsync_page import Page, Refused


def service(seen: asyncio.Queue) -> Service:
    fax = Service("fax")

    @fax.rpc("who")
    async def who(_request: None, ctx: Context) -> str | None:
        return ctx.user and ctx.user.id

    @fax.job("send", retry=Retry(attempts=1))
    async def send(request: dict, ctx: Context) -> None:
        if request.get("only") and (ctx.user is None or ctx.user.id != request["only"]):
            raise Reject("not yours")
        seen.put_nowait(ctx.user)

    return fax


@asynccontextmanager
async def fax(bus):
    seen: asyncio.Queue = asyncio.Queue()
    async with bus.serving(service(seen)):
        yield seen


async def call(page: Page, sent: str | None, reply: str | None = None):
    fields = {} if sent is None else {headers.USER: sent}
    return await page.request("rpc.fax.acme.who", b"", fields)


async def submit(page: Page, sent: str | None, key: str, payload: bytes = b"{}", operation: str = "send"):
    fields = {headers.MESSAGE_ID: key} if sent is None else {headers.MESSAGE_ID: key, headers.USER: sent}
    return await page.request(f"sync.acme.submit.fax.{operation}", payload, fields)


def changed(token: str, **said) -> str:
    head, body, signature = token.split(".")
    found = {**json.loads(base64.urlsafe_b64decode(body + "==")), **said}
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(found).encode()).decode().rstrip('=')}.{signature}"


async def test_a_call_and_a_job_of_a_page_are_from_its_user(bus, site, open_page):
    page = await open_page(site, follow=False)
    async with fax(bus) as seen:
        assert await call(page, page.session["proof"]) == "ada"
        await submit(page, page.session["proof"], "k1")
        assert await asyncio.wait_for(seen.get(), 5) == User("ada", {})


async def test_claims_that_were_chosen_are_told(bus, start_site):
    issuer = Issuer()
    try:
        rules = Rules(issuer.url, AUDIENCE, passed=("groups", "org.unit", "missing"))
        site = await start_site(bus.broker, development=False, rules=rules)
        session = (await ask(site, issuer.token(groups=["staff"], org={"unit": "fax"}, email="ada@example.com"))).json()
        async with Page.open(bus.broker.ws_url, session, follow=False) as page, fax(bus) as seen:
            await submit(page, session["proof"], "k1")
            found = await asyncio.wait_for(seen.get(), 5)
            assert found == User("ada", {"groups": ["staff"], "org.unit": "fax"})
        reply = await ask(site, issuer.token(groups=["x" * 2000]))
        assert (reply.status_code, "--pass-claim" in reply.json()["error"]["remedy"]) == (403, True)
    finally:
        issuer.stop()


async def test_messages_of_services_and_clients_are_from_nobody(bus):
    async with fax(bus) as seen:
        assert await bus.call("fax", "who", tenant="acme", returns=str | None) is None
        await bus.submit("fax", "send", {}, tenant="acme")
        assert await asyncio.wait_for(seen.get(), 5) is None


async def test_a_page_that_names_nobody_submits_for_nobody(bus, site, open_page):
    page = await open_page(site, follow=False)
    async with fax(bus) as seen:
        assert await call(page, None) is None
        await submit(page, None, "k1", b'{"only": "ada"}')
        letter = await letter_of(bus)
        assert "did not say who its user is" in letter.reason
        assert seen.empty()


async def test_a_page_cannot_name_somebody_else(bus, site, open_page, tmp_path):
    mallory = await open_page(site, "acme", "mallory", follow=False)
    ada = await open_page(site, "acme", "ada", follow=False)
    zeta = await open_page(site, "zeta", "ada", follow=False)
    own, of_ada = mallory.session["proof"], ada.session["proof"]
    stranger = Proofs(Identities.create_or_load(tmp_path / "other"))
    key = mallory.session["inbox"].removeprefix("_INBOX.")
    unsigned = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').decode().rstrip("=")
    forged = {
        "another session's": of_ada,
        "another tenant's": zeta.session["proof"],
        "a changed subject": changed(own, sub="ada"),
        "a changed expiry": changed(own, exp=4_000_000_000),
        "another installation's": stranger.of_session(SignedIn("acme", "ada", 0), key, 4_000_000_000),
        "no signature": f"{unsigned}.{changed(own, sub='ada').split('.')[1]}.",
        "expired": Proofs(bus.broker.identities).of_session(SignedIn("acme", "ada", 0), key, 1_000_000),
        "the session's own token": mallory.session["jwt"],
        "a job's": Proofs(bus.broker.identities).of_job("acme", None, "", "fax.send", b"{}"),
        "nonsense": "x",
        "too long": own + "x" * 5000,
    }
    async with fax(bus) as seen:
        for name, sent in forged.items():
            with pytest.raises(Refused) as refused:
                await call(mallory, sent)
            assert refused.value.status == 422, name
            with pytest.raises(Refused) as refused:
                await submit(mallory, sent, f"k-{name.split()[0]}")
            assert refused.value.status == 401, name
        assert await call(mallory, own) == "mallory"
        assert seen.empty()


async def test_the_proof_of_a_job_belongs_to_that_job(bus, site, open_page):
    """A client of the same tenant, or a worker, may see the header of a job and cannot use it for another one."""
    ada = await open_page(site, "acme", "ada", follow=False)
    async with await bus.broker.connect("client", tenant="acme") as client, fax(bus) as seen:
        stolen = Proofs(bus.broker.identities).of_job(
            "acme", ada.session["proof"], ada.session["inbox"] + ".x", "fax.send", b'{"n":1}'
        )
        for payload in (b'{"n":2}', b'{"n":1}'):
            await client.nc.publish("job.fax.acme.send", payload, headers={headers.USER: stolen})
        assert await asyncio.wait_for(seen.get(), 5) == User("ada", {})  # the same job again
        assert "another job" in (await letter_of(bus)).reason
        assert seen.empty()


async def test_a_dead_job_that_is_replayed_is_still_from_its_user(bus, site, open_page):
    page = await open_page(site, follow=False)
    async with fax(bus) as seen:
        await submit(page, page.session["proof"], "k1", b'{"only": "bob"}')
        letter = await letter_of(bus)
        assert letter.reason == "not yours"
        assert proof.of_job(
            letter.headers[headers.USER],
            frozenset({bus.broker.identities.role_key("browser")}),
            "acme",
            "fax.send",
            b'{"only": "bob"}',
        ) == User("ada", {})
        assert seen.empty()


async def letter_of(bus) -> dead.DeadLetter:
    async with asyncio.timeout(10):
        while True:
            async for letter in dead.list_(bus.bus.js, "fax", "acme"):
                return letter
            await asyncio.sleep(0.05)
