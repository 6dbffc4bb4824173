"""Fixtures of client sync's tests; what they are made of is in tests/support/clientsync_page.py."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx
import pytest

from headway.clientsync.server import Options, serving
from tests.support.clientsync_page import Page, Site


@pytest.fixture
async def start_site(tmp_path):
    """`await start_site(broker, ...)`: client sync with the development issuer, quick to look and to beacon."""
    async with AsyncExitStack() as stack:

        async def start(broker, **options) -> Site:
            usual = {"development": True, "beacon_every": 0.2, "poll": 0.05, "pages": tmp_path}
            settings = Options(
                ws_url=(broker.ws_url or "ws://127.0.0.1:1").split(",")[0], port=0, **{**usual, **options}
            )
            url = await stack.enter_async_context(serving(broker, settings))
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
            return Site(broker, url, http)

        yield start


@pytest.fixture
async def site(bus, start_site):
    """Client sync beside the server of the fixture `bus`."""
    return await start_site(bus.broker)


@pytest.fixture
async def open_page():
    """`await open_page(site, "acme", "ada")`: a page, closed when the test is over."""
    async with AsyncExitStack() as stack:

        async def opened(site: Site, tenant: str = "acme", user: str = "ada", **options) -> Page:
            session = await site.session(tenant, user)
            return await stack.enter_async_context(Page.open(site.broker.ws_url, session, **options))

        yield opened
