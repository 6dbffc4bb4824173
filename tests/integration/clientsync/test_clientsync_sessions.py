"""Sessions over HTTP: whose tokens are good, what a session may do and for how long, and what keeps strangers out."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import jwt
import nats.errors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from headway.broker.broker import Broker
from headway.bus.errors import ConfigError
from headway.clientsync.server import Options, check
from headway.clientsync.web import tokens
from headway.clientsync.web.guard import RateLimits
from headway.clientsync.web.tokens import Rules
from tests.support.clientsync_page import Page, Refused, Site

AUDIENCE = "sync"


class Issuer:
    """An application's identity provider: OIDC discovery and keys over HTTP. Attributes: asked: paths, in order."""

    def __init__(self) -> None:
        self.keys: dict[str, object] = {}
        self.asked: list[str] = []
        self.down = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                found = issuer._answer(self.path)
                self.send_response(200 if found is not None and not issuer.down else 503)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.new_key("k1")

    def _answer(self, path: str) -> object:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [self._public(kid, key) for kid, key in self.keys.items()]}

    def _public(self, kid: str, key) -> dict:
        algorithm, name = (RSAAlgorithm, "RS256") if isinstance(key, rsa.RSAPrivateKey) else (ECAlgorithm, "ES256")
        return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": name, "use": "sig"}

    def new_key(self, kid: str) -> None:
        self.keys[kid] = rsa.generate_private_key(65537, 2048)

    def token(self, *, kid: str = "k1", key=None, algorithm: str = "RS256", **changed: object) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "tenant": "acme",
            "iat": now,
            "exp": now + 300,
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.keys[kid], algorithm=algorithm, headers={"kid": kid})

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer():
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
async def signed(bus, start_site, issuer):
    """Client sync that trusts the fixture `issuer`."""
    return await start_site(bus.broker, development=False, rules=Rules(issuer.url, AUDIENCE))


async def ask(site: Site, token: str, method: str = "POST") -> httpx.Response:
    return await site.http.request(method, "/session", headers={"Authorization": f"Bearer {token}"})


async def test_the_applications_token_opens_a_session_of_its_tenant(signed, issuer):
    reply = await ask(signed, issuer.token())
    session = reply.json()
    assert (reply.status_code, session["tenant"], session["user"]) == (200, "acme", "ada")
    assert session["url"] == signed.broker.ws_url
    assert session["expires"] - time.time() == pytest.approx(300, abs=5)  # not longer than the token
    assert session["refresh_at"] - time.time() == pytest.approx(240, abs=5)
    # Pages use the durations: their clocks may be wrong.
    assert session["expires_in"] == pytest.approx(300, abs=5)
    assert session["refresh_in"] == pytest.approx(0.8 * session["expires_in"], abs=0.01)
    assert session["now"] == pytest.approx(time.time(), abs=5)
    assert reply.headers["cache-control"] == "no-store"
    async with Page.open(signed.broker.ws_url, session, follow=False) as page:
        assert (await page.ask())["changes"] == []
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    await ask(signed, issuer.token())
    assert len(issuer.asked) == 2  # keys are kept


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"aud": "another"}, 401),
        ({"aud": None}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"iss": None}, 401),
        ({"exp": int(time.time()) - 3600}, 401),
        ({"exp": None}, 401),
        ({"nbf": int(time.time()) + 3600}, 401),
        ({"iat": int(time.time()) + 3600}, 401),
        ({"tenant": "*"}, 403),
        ({"tenant": ">"}, 403),
        ({"tenant": "a.b"}, 403),
        ({"tenant": "ACME"}, 403),
        ({"tenant": None}, 403),
        ({"tenant": ["acme"]}, 403),
        ({"sub": None}, 403),
        ({"sub": ""}, 403),
        ({"sub": "x" * 300}, 403),
        ({"aud": [AUDIENCE, "another"]}, 200),
    ],
)
async def test_only_a_token_for_us_that_names_a_tenant_and_a_user_is_good(signed, issuer, changed, status):
    reply = await ask(signed, issuer.token(**changed))
    assert reply.status_code == status, reply.text
    if status != 200:
        assert set(reply.json()["error"]) == {"code", "message", "remedy"}


async def test_a_token_whose_signature_proves_nothing_is_refused(signed, issuer):
    public = issuer.keys["k1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})
    head, body, _ = issuer.token().split(".")
    # The public key is public: a token "signed" with it as a shared secret proves nothing. PyJWT refuses to make one.
    import base64
    import hashlib
    import hmac

    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1","typ":"JWT"}').rstrip(b"=").decode()
    mac = hmac.digest(public, f"{header}.{body}".encode(), hashlib.sha256)
    confused = f"{header}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    stranger = issuer.token(key=rsa.generate_private_key(65537, 2048))
    other_kind = issuer.token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")
    for token in (unsigned, confused, stranger, other_kind, f"{head}.{body}.", "a.b.c", "x" * 10_000):
        reply = await ask(signed, token)
        assert reply.status_code == 401, token
        assert reply.headers["www-authenticate"] == "Bearer"
    assert (await signed.http.post("/session")).status_code == 401


async def test_new_keys_are_found_and_unknown_ones_do_not_make_us_ask_all_the_time(signed, issuer, monkeypatch):
    await ask(signed, issuer.token())
    issuer.new_key("k2")
    for _ in range(10):
        assert (await ask(signed, issuer.token(kid="k2"))).status_code == 401  # asked a moment ago
    assert len(issuer.asked) == 2
    monkeypatch.setattr(tokens, "_AGAIN", 0.0)
    assert (await ask(signed, issuer.token(kid="k2"))).status_code == 200


async def test_while_the_issuer_is_away_its_known_keys_are_used(signed, issuer, monkeypatch):
    issuer.down = True
    assert (await ask(signed, issuer.token())).status_code == 503
    monkeypatch.setattr(tokens, "_AGAIN", 0.0)
    issuer.down = False
    assert (await ask(signed, issuer.token())).status_code == 200
    issuer.down = True
    monkeypatch.setattr(tokens, "_FRESH", 0.0)
    assert (await ask(signed, issuer.token())).status_code == 200


def test_keys_are_not_fetched_without_tls_from_another_machine():
    with pytest.raises(ConfigError, match="TLS"):
        tokens.RemoteKeys("http://login.example.com", None, httpx.AsyncClient())


async def test_a_session_ends_when_it_expires_and_the_next_one_goes_on(bus, start_site, until):
    site = await start_site(bus.broker, lifetime=5.0)
    first = await site.session()
    assert first["refresh_at"] < first["expires"]
    async with Page.open(site.broker.ws_url, first, reconnect=False, follow=False) as page:
        await bus.tenant("acme").objects.put("fax", "a", {})
        assert len((await page.ask())["changes"]) == 1
        await until(lambda: time.time() >= first["refresh_at"])  # as pages do it; so it lives for seconds longer
        second = await site.session()
        assert second["inbox"] == first["inbox"]
        async with Page.open(site.broker.ws_url, second, reconnect=False, follow=False) as next_page:
            await until(page.closed.is_set)
            assert len((await next_page.ask())["changes"]) == 1
    assert time.time() >= first["expires"] - 1


async def test_revoking_disconnects_a_user_at_once_and_nobody_else(bus, site, until):
    token = await site.token("acme", "ada")
    await bus.broker.set_routes({"fax": {"v1": 100}})
    session = (await ask(site, token)).json()
    same_name = await site.session("zeta", "ada")
    other = await site.session("acme", "bob")
    async with (
        Page.open(site.broker.ws_url, session, reconnect=False) as first,
        Page.open(site.broker.ws_url, session, reconnect=False) as second,
        Page.open(site.broker.ws_url, same_name, reconnect=False) as elsewhere,
        Page.open(site.broker.ws_url, other, reconnect=False) as beside,
    ):
        assert (await ask(site, token, "DELETE")).status_code == 204
        await until(lambda: first.closed.is_set() and second.closed.is_set())
        with pytest.raises(nats.errors.Error):
            async with Page.open(site.broker.ws_url, session, reconnect=False, follow=False):
                pass
        assert not elsewhere.closed.is_set()
        assert not beside.closed.is_set()
        await beside.ask()
    assert await bus.broker.routes() == {"fax": {"v1": 100}}

    async def may_come_back() -> bool:  # with a token of a later second
        fresh = (await ask(site, token)).json()
        try:
            async with Page.open(site.broker.ws_url, fresh, reconnect=False, follow=False):
                return True
        except nats.errors.Error:
            return False

    await until(may_come_back)


async def test_routes_and_revocations_do_not_undo_each_other(tmp_path, until):
    """Also not when two processes change them at the same time, and not by a restart of the server."""
    async with Broker.start(tmp_path, port=0) as broker:
        people = [f"person-{n}" for n in range(8)]
        keys = {
            name: broker.identities.mint("browser", tenant="acme", person=name, expires=timedelta(hours=1))
            for name in people
        }
        others = [Broker.external(broker.url, dir=tmp_path) for _ in range(2)]
        try:
            async with asyncio.TaskGroup() as group:
                for n, name in enumerate(people):
                    group.create_task(others[n % 2].revoke([keys[name].public_key]))
                    group.create_task(broker.set_routes({"fax": {f"v{n}": 100}}))
            routes = await broker.routes()
            assert sum(routes["fax"].values()) == 100
            assert await others[0].routes() == routes
            await broker.set_routes({"calls": {"v1": 100}})
            assert broker.server is not None
            await broker.server.restart()
            assert await broker.routes() == {"calls": {"v1": 100}}
            await all_refused(broker, keys)
        finally:
            for other in others:
                await other.close()
    async with Broker.start(tmp_path, port=0) as broker:
        assert await broker.routes() == {"calls": {"v1": 100}}
        await all_refused(broker, keys)


async def all_refused(broker: Broker, keys) -> None:
    for made in keys.values():
        session = {"jwt": made.jwt, "inbox": f"_INBOX.{made.public_key}", "tenant": "acme"}
        with pytest.raises(nats.errors.Error):
            async with Page.open(broker.ws_url, session, reconnect=False, follow=False):
                pass


def test_in_a_container_whose_port_is_published_on_the_loopback_it_may_listen_to_all():
    check(Options(ws_url="ws://x", development=True, host="0.0.0.0", published=True))


async def test_without_the_development_issuer_there_is_none(signed):
    assert (await signed.http.post("/dev/token", json={"tenant": "acme", "user": "ada"})).status_code in (404, 405)
    assert (await signed.http.get("/.well-known/jwks.json")).status_code == 404


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"development": True, "host": "0.0.0.0"},
        {"development": True, "rules": Rules("https://i", "a")},
        {"development": True, "ws_url": "http://x"},
        {"development": True, "origins": ("https://a/b",)},
        {"development": True, "origins": ("*",)},
    ],
)
def test_what_would_let_strangers_in_is_refused_at_the_start(options):
    with pytest.raises(ConfigError):
        check(Options(**{"ws_url": "ws://127.0.0.1:1", **options}))


async def test_pages_of_other_origins_are_refused_unless_they_are_named(bus, start_site):
    site = await start_site(bus.broker, origins=("https://app.example.com",))
    body = {"json": {"tenant": "acme", "user": "ada"}}
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("https://app.example.com.evil.example", 403),
        ("https://app.example.com", 200),
        (site.url, 200),
    ):
        reply = await site.http.post("/dev/token", **body, headers={"Origin": origin})
        assert reply.status_code == status, origin
        allowed = reply.headers.get("access-control-allow-origin")
        assert allowed == ("https://app.example.com" if origin == "https://app.example.com" else None)
    asked = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert (await site.http.options("/session", headers=asked)).status_code == 200
    refused = await site.http.options("/session", headers={**asked, "Origin": "https://evil.example"})
    assert refused.status_code == 400
    # A page elsewhere that makes its own name lead here is not its own origin to us.
    assert (await site.http.post("/dev/token", **body, headers={"Host": "evil.example"})).status_code == 403
    # And a form, which needs no leave, cannot send JSON.
    plain = await site.http.post("/dev/token", content=b'{"tenant":"acme","user":"ada"}')
    assert plain.status_code == 400


async def test_too_much_is_refused_with_the_time_to_wait(bus, start_site):
    site = await start_site(bus.broker, limits=RateLimits(address=(0.1, 40), failures=(0.1, 3), user=(0.1, 2)))
    token = await site.token("acme", "ada")
    assert [(await ask(site, token)).status_code for _ in range(4)] == [200, 200, 429, 429]
    assert (await ask(site, await site.token("acme", "bob"))).status_code == 200
    assert [(await ask(site, "bad")).status_code for _ in range(4)] == [401, 401, 401, 429]
    reply = None
    for _ in range(40):
        reply = await site.http.post("/dev/token", json={"tenant": "acme", "user": "ada"})
    assert reply is not None
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 10
    assert reply.json()["error"]["code"] == "rate_limited"
    too_large = await start_site(bus.broker)
    assert (await too_large.http.post("/dev/token", json={"user": "x" * 5000})).status_code == 413


async def test_a_good_token_is_accepted_after_many_bad_ones_from_its_address(bus, start_site):
    site = await start_site(bus.broker, limits=RateLimits(failures=(0.01, 30)))
    token = await site.token("acme", "ada")
    refused = [(await ask(site, f"bad{n}")).status_code for n in range(40)]
    assert refused == [401] * 30 + [429] * 10
    assert (await ask(site, token)).status_code == 200


async def test_a_bad_token_is_not_checked_without_end(signed, issuer):
    expired = issuer.token(exp=int(time.time()) - 300)
    statuses = [(await ask(signed, expired)).status_code for _ in range(40)]
    assert statuses[:30] == [401] * 30
    assert 429 in statuses[30:]
    assert (await ask(signed, issuer.token())).status_code == 200


async def test_pages_come_with_headers_that_keep_others_out(bus, start_site, tmp_path):
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "app-0a1b2c3d.js").write_text("1")
    (tmp_path / "secret").symlink_to("/etc/hostname")
    site = await start_site(bus.broker, pages=tmp_path)
    index = await site.http.get("/")
    assert index.text == "<p>hello"
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"connect-src 'self' {site.broker.ws_url}" in policy
    assert index.headers["x-content-type-options"] == "nosniff"
    assert index.headers["cache-control"] == "no-cache"
    fixed = await site.http.get("/app-0a1b2c3d.js")
    assert "immutable" in fixed.headers["cache-control"]
    again = await site.http.get("/", headers={"If-None-Match": index.headers["etag"]})
    assert again.status_code == 304
    for path in ("/../conftest.py", "/%2e%2e/secret", "/secret", "/nothing", "/..%2f..%2fetc/passwd"):
        gone = await site.http.get(path)
        assert gone.status_code == 404, path
        assert gone.headers["x-content-type-options"] == "nosniff"


async def test_pages_that_are_not_built_say_so(bus, start_site, tmp_path):
    site = await start_site(bus.broker, pages=tmp_path / "none")
    reply = await site.http.get("/")
    assert (reply.status_code, "npm" in reply.text) == (404, True)


async def test_a_session_of_one_tenant_cannot_ask_for_another(site, open_page):
    page = await open_page(site, follow=False)
    with pytest.raises((Refused, nats.errors.Error)):
        await page.nc.request("sync.zeta.pull", b"{}", timeout=1)
