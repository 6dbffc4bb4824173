"""The demo's page, with the real services behind it, used as a person would."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from headway.services.calls import calls
from headway.services.fax import fax
from headway.services.voicemail import voicemail

ACME = "document.querySelector('[data-tenant=acme]')"


@pytest.fixture
async def services(bus):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus.serving(fax, config={"speed": 200, "busy_share": 0, "no_answer_share": 0}))
        await stack.enter_async_context(bus.serving(calls))
        await stack.enter_async_context(bus.serving(voicemail))
        yield


async def desk(site, **options):
    tab = await site.tab(await site.context(**options), path="/demo/")
    for tenant in ("acme", "globex"):
        await tab.until(f"document.querySelector('[data-tenant={tenant}] .pill')?.textContent === 'Up to date'")
    await tab.until(f"{ACME}.querySelector('.people').textContent.includes('ben')")
    return tab


async def test_calls_faxes_and_voicemails_come_and_go_by_keyboard(site, services, pictures):
    tab = await desk(site, viewport={"width": 1440, "height": 900})
    keyboard = tab.page.keyboard
    await keyboard.press("1")
    for key in "cccfv":
        await keyboard.press(key)
    await tab.until(f"{ACME}.querySelectorAll('.call[data-state=active]').length === 2")
    await tab.until(f"{ACME}.querySelectorAll('.call[data-state=queued]').length === 1")
    await tab.until(f"{ACME}.querySelector('.voicemail .wave rect')")
    await tab.until(f"{ACME}.querySelector('.fax[data-state=sent]')")
    await tab.page.screenshot(path=pictures / "light.png")
    await tab.page.click("[data-tenant=acme] .call[data-state=active] button")
    await tab.until(f"{ACME}.querySelectorAll('.call[data-state=ended]').length === 1")
    await tab.until(f"{ACME}.querySelectorAll('.call[data-state=active]').length === 2")
    await tab.page.click("[data-tenant=acme] .voicemail .play")
    await tab.until(f"!{ACME}.querySelector('.voicemail.unheard')")
    await tab.page.click("[data-tenant=acme] .voicemail .small")
    await tab.until(f"!{ACME}.querySelector('.voicemail')")
    assert not await tab.run("document.querySelector('[data-tenant=globex]').querySelectorAll('.row').length")
    assert not tab.errors


async def test_what_is_done_offline_is_marked_and_happens_once_online(site, services):
    tab = await desk(site)
    await tab.page.keyboard.press("1")
    await tab.page.keyboard.press("o")
    await tab.until(f"{ACME}.querySelector('.pill').textContent === 'Offline'")
    await tab.page.keyboard.press("f")
    await tab.until(f"{ACME}.querySelector('.fax.pending')")
    await tab.until(f"{ACME}.querySelector('.waiting').textContent === '1 waiting'")
    await tab.page.keyboard.press("o")
    await tab.until(f"{ACME}.querySelector('.fax[data-state=sent]:not(.pending)')")
    await tab.until(f"{ACME}.querySelector('.waiting').hidden")


async def test_the_server_says_no_to_a_look_at_the_other_desk(site, services):
    tab = await desk(site)
    await tab.page.click("[data-tenant=acme] footer button")
    await tab.until(f"{ACME}.querySelector('.verdict.good')")
    assert "Permissions Violation" in await tab.run(f"{ACME}.querySelector('.verdict').textContent")


@pytest.mark.parametrize("width", [360, 390, 768, 1024])
async def test_nothing_is_wider_than_a_narrow_page(site, services, width, pictures):
    tab = await desk(site, viewport={"width": width, "height": 800})
    for key in "cfv":
        await tab.page.keyboard.press(key)
    for what in ("call", "fax", "voicemail"):
        await tab.until(f"{ACME}.querySelector('.{what}')")
    assert await tab.run("document.documentElement.scrollWidth") <= width
    await tab.page.screenshot(path=pictures / f"{width}.png", full_page=True)


async def test_light_and_dark_follow_the_system_and_the_switch(site):
    tab = await site.tab(await site.context(color_scheme="dark"), path="/demo/")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = await tab.run(ground)
    await tab.page.keyboard.press("t")
    light = await tab.run(ground)
    assert dark != light
    await tab.page.reload()
    assert await tab.run(ground) == light, "the choice must be kept"
    await tab.page.click("#theme")
    assert await tab.run(ground) == dark


async def test_each_control_has_a_name_and_can_be_reached_by_keyboard(site, services):
    tab = await desk(site)
    await tab.page.keyboard.press("c")
    await tab.until(f"{ACME}.querySelector('.call button')")
    nameless = await tab.run("""[...document.querySelectorAll('button, input, select')].filter((control) =>
      control.offsetParent && !(control.getAttribute('aria-label') || control.textContent.trim())).length""")
    assert nameless == 0
    reached = set()
    for _ in range(40):
        await tab.page.keyboard.press("Tab")
        reached.add(await tab.run("document.activeElement.textContent.trim() || document.activeElement.name"))
    assert {"Place a call", "Send", "Leave a voicemail", "Online", "to", "Hang up"} <= reached
