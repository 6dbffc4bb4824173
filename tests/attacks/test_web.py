"""Attacks on the web server and on what it signs: foreign origins, foreign users, bearer tokens elsewhere."""

from __future__ import annotations

import aiohttp
import nats
import nats.errors
import pytest

from headway.broker.broker import Broker
from tests.attacks.attempts import Attempts

ORIGIN = "https://app.example.com"
FOREIGN = (
    "https://evil.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.example",
    "https://evil.example/app.example.com",
    "null",
    "file://",
)


async def test_pages_of_foreign_origins_do_not_get_to_the_server(tmp_path, attempts: Attempts):
    async with Broker.start(tmp_path, port=0, origins=(ORIGIN,)) as broker, aiohttp.ClientSession() as http:
        socket = await http.ws_connect(broker.ws_url, headers={"Origin": ORIGIN})
        await socket.close()
        for origin in FOREIGN:
            try:
                socket = await http.ws_connect(broker.ws_url, headers={"Origin": origin})
                await socket.close()
                through = True
            except aiohttp.WSServerHandshakeError:
                through = False
            attempts.judge(f"websocket of {origin}", refused=not through)


@pytest.mark.parametrize("role", ["browser", "console"])
async def test_a_stolen_bearer_token_is_of_no_use_outside_of_the_websocket_listener(
    nats_broker: Broker, attempts: Attempts, role
):
    made = nats_broker.identities.mint(role, **({"tenant": "acme"} if role == "browser" else {}))
    options = {"user_jwt_cb": made.jwt.encode, "signature_cb": lambda _nonce: b""}
    try:
        await (await nats.connect(nats_broker.url, allow_reconnect=False, **options)).close()
        through = True
    except nats.errors.Error:
        through = False
    attempts.judge(f"{role} over TCP", refused=not through)
