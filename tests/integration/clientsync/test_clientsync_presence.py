"""Who is online, as pages are told."""

from __future__ import annotations

import asyncio

from tests.support.clientsync_page import Page


async def test_a_tenants_pages_are_told_who_comes_and_goes(site, open_page, until):
    page = await open_page(site, "acme", "ada")
    await until(lambda: page.presence and page.presence[-1]["online"] == ["ada"])
    session = await site.session("acme", "bob")
    async with Page.open(site.broker.ws_url, session), Page.open(site.broker.ws_url, session, follow=False):
        stranger = await open_page(site, "zeta", "eve")
        await until(lambda: page.presence[-1]["online"] == ["ada", "bob"])
        await until(lambda: stranger.presence and stranger.presence[-1]["online"] == ["eve"])
    await until(lambda: page.presence[-1]["online"] == ["ada"])
    assert all("eve" not in said["online"] for said in page.presence)
    assert (await page.ask(presence=True))["online"] == ["ada"]


async def test_who_has_two_tabs_stays_online_when_one_is_closed(site, open_page, until):
    page = await open_page(site, "acme", "ada")
    session = await site.session("acme", "bob")
    async with Page.open(site.broker.ws_url, session):
        async with Page.open(site.broker.ws_url, session):
            await until(lambda: page.presence and page.presence[-1]["online"] == ["ada", "bob"])
        await asyncio.sleep(0.5)  # longer than changes are gathered
        assert (await page.ask(presence=True))["online"] == ["ada", "bob"]
        assert page.presence[-1]["online"] == ["ada", "bob"]


async def test_an_instance_that_starts_later_counts_who_is_there(bus, site, start_site, open_page, until):
    page = await open_page(site, "acme", "ada")
    await start_site(bus.broker)

    async def both_know() -> bool:
        found = [(await page.ask(presence=True))["online"] for _ in range(10)]  # either instance answers
        return all(names == ["ada"] for names in found)

    await until(both_know)


async def test_who_leaves_while_the_server_is_away_is_not_shown_for_ever(bus, site, open_page, until):
    page = await open_page(site, "acme", "ada")
    session = await site.session("acme", "bob")
    async with Page.open(site.broker.ws_url, session, reconnect=False):
        await until(lambda: page.presence and page.presence[-1]["online"] == ["ada", "bob"])
        assert bus.broker.server is not None
        await bus.broker.server.restart()

    async def alone() -> bool:
        try:
            return (await page.ask(presence=True))["online"] == ["ada"]
        except Exception:
            return False

    await until(alone)
