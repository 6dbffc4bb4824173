"""The operator's console in a real browser, with the real deployer, judge and projector behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from headway import Context, Reject, Service
from headway.console.access import Access
from headway.console.web import Console
from headway.control.records import Decided, ScaleRecord
from headway.control.store import Control, scale_key
from tests.support.deployer_place import Behaviour, Place

EVIL = "<img src=x onerror=\"document.title='broken'\">"
DIALOG = "document.querySelector('dialog[open]')"


@dataclass
class Operator:
    """Somebody who opens consoles.

    Attributes:
        site: what serves them.
        access: makes codes.
    """

    site: Any
    access: Access

    async def address(self, name: str = "ada") -> str:
        return f"/console/#code={await self.access.code(name)}"

    async def opens(self, where: str = "", **options) -> Any:
        """A console, signed in and live."""
        tab = await self.site.tab(await self.site.context(**options), path=await self.address())
        await tab.until("document.getElementById('status').textContent === 'Live'")
        if where:
            await tab.run(f"location.hash = {where!r}")
        return tab


@pytest.fixture
async def operator(site, bus):
    """The console beside the pages of the fixture `site`."""
    async with await bus.broker.connect("operator", name="console") as connection:
        ws_url = site.link.url.replace("nats://", "ws://")
        site.beside = [Console(bus.broker, connection, ws_url=ws_url, holder="test", period=0.2)]
        await site.stop()
        await site.start()
        yield Operator(site, Access(Control(bus.bus)))
        await site.stop()
        await site.start()  # without the console, whose connection ends here


@pytest.fixture
async def place(bus, until):
    """A service with versions, workers that follow the records, and deployers."""
    async with Place.beside(bus.broker, bus.bus, until) as made:
        yield made


class Press:
    """A service that refuses jobs until it has ink."""

    def __init__(self) -> None:
        self.ink = False
        self.done: list[str] = []

    def service(self) -> Service:
        app = Service("press")

        @app.job("print")
        async def print_(page: str, ctx: Context) -> None:
            if not self.ink:
                raise Reject(f"no ink for {page}")
            self.done.append(page)

        return app


def row(name: str) -> str:
    return f"[...document.querySelectorAll('.overview tbody tr')].find((row) => row.textContent.includes('{name}'))"


def shows(selector: str, text: str) -> str:
    return f"document.querySelector({selector!r})?.textContent.includes({text!r})"


async def clicks(tab, text: str, within: str = "main") -> None:
    await tab.page.click(f"{within} button:text-is('{text}'):visible")


async def says(tab, yes: str) -> None:
    await tab.until(DIALOG)
    await clicks(tab, yes, "dialog")
    await tab.until(f"!{DIALOG}")


# Coming in.


async def test_an_address_lets_one_browser_in_once_and_leaves_no_trace_in_it(operator):
    address = await operator.address()
    tab = await operator.site.tab(path=address)
    await tab.until("document.getElementById('status').textContent === 'Live'")
    assert await tab.run("location.hash") == ""
    await tab.page.reload()
    await tab.until("document.getElementById('status').textContent === 'Live'")
    other = await operator.site.tab(path=address)
    await other.until(shows(".sign-in [role=alert]", "used already"))
    await other.page.fill(".sign-in input", await operator.access.code("grace"))
    await other.page.keyboard.press("Enter")
    await other.until("document.getElementById('status').textContent === 'Live'")
    await other.page.click("#sign-out")
    await other.until("document.querySelector('.sign-in')")
    await other.page.reload()
    await other.until("document.querySelector('.sign-in')")


async def test_who_is_no_operator_is_told_so_and_sees_and_does_nothing(operator):
    tab = await operator.site.tab()
    token = await tab.run("""(async () => {
      const body = JSON.stringify({tenant: 'acme', user: 'eve'});
      const asked = await fetch('/dev/token', {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
      return (await asked.json()).token;
    })()""")
    intruder = await operator.site.tab(path=f"/console/#token={token}")
    await intruder.until(shows(".sign-in [role=alert]", "do not open the console"))
    assert not await intruder.run("document.querySelector('table')")
    act = """(token) => fetch('/console/act', {
      method: 'POST', headers: {'Content-Type': 'application/json', Authorization: `Bearer ${token}`},
      body: JSON.stringify({do: 'abort', service: 'fax'}),
    }).then((answer) => answer.status)"""
    assert await intruder.run(act, token) == 403
    assert await intruder.run(act, "hwop_guess") == 401


# What is shown.


async def test_services_workers_and_decisions_appear_and_change_while_one_looks(operator, bus, pictures):
    tab = await operator.opens(viewport={"width": 1440, "height": 900})
    await tab.until(shows(".empty", "No service runs"))
    async with bus.serving(Press().service()):
        await tab.until(f"{row('press')}?.textContent.includes('v1')")
        record = ScaleRecord(
            service="press",
            version="v1",
            desired=2,
            history=(Decided(at=1.0, before=1, desired=2, reason="lag needs 2 workers"),),
        )
        await Control(bus.bus).put(scale_key("press", "v1"), record)
        await tab.until(f"{row('press')}.textContent.includes('1 / 2')")
        await tab.until(shows(".activity", "lag needs 2 workers"))
        broken = {"health": "crash-loop", "deaths": 5, "last_exit": "exit code 1", "stderr": ("no disk", EVIL)}
        await Control(bus.bus).put(scale_key("press", "v1"), record.model_copy(update=broken))
        await tab.until(f"{row('press')}.dataset.state === 'down'")
        await tab.page.click("a:text-is('press')")
        await tab.until(shows(".versions pre", "no disk"))
        await tab.until("document.querySelectorAll('.workers tbody tr').length === 1")
        await tab.page.screenshot(path=pictures / "crash-loop.png", full_page=True)
    await tab.until("document.querySelectorAll('.workers tbody tr').length === 0")
    assert await tab.run("document.title") == "press · Headway"
    assert not tab.errors


async def test_without_a_connection_it_shows_what_it_knows_and_says_so(operator, bus):
    async with bus.serving(Press().service()):
        tab = await operator.opens()
        await tab.until(row("press"))
        operator.site.link.cut()
        await tab.until("document.getElementById('status').textContent === 'Offline'")
        assert "No connection" in await tab.run("document.getElementById('banner').textContent")
        await tab.run("document.getElementById('main').store.close()")  # it writes to disk what it has
        await tab.page.reload()
        await tab.until(row("press"))
        operator.site.link.mend()
        await tab.until("document.getElementById('status').textContent === 'Live'")
        assert await tab.run("document.getElementById('banner').hidden")


# What is done.


async def test_a_dead_letter_is_found_and_replayed_and_is_gone_once_it_is_handled(operator, bus, until, pictures):
    press = Press()
    async with bus.serving(press.service()):
        for n, page in enumerate(("first", "second", EVIL)):
            await bus.submit("press", "print", page, tenant="acme" if n else "globex")
        tab = await operator.opens("#/dead")
        await tab.until("document.querySelectorAll('.letter').length === 3")
        await tab.page.click(".letter:first-child summary")
        payloads = await tab.run("[...document.querySelectorAll('.letter pre')].map((one) => one.textContent)")
        assert sorted(map(json.loads, payloads)) == sorted(["first", "second", EVIL])
        await tab.page.screenshot(path=pictures / "dead.png")
        await tab.page.keyboard.press("1")
        await tab.until("document.title === 'Services · Headway'")
        await tab.page.keyboard.press("/")
        await tab.page.keyboard.type("globex")
        await tab.until("document.querySelectorAll('.letter').length === 1")
        press.ink = True
        await clicks(tab, "Replay")
        await until(lambda: press.done == ["first"])
        await tab.page.fill(".tools input", "")
        await tab.until("document.querySelectorAll('.letter').length === 2")
        await clicks(tab, "Replay all shown")
        await says(tab, "Replay")
        await until(lambda: sorted(press.done) == sorted(["first", "second", EVIL]))
        await tab.until(shows(".empty", "No dead letters"))
        await tab.run("location.hash = '#/installation'")
        await tab.until(shows(".installation .wide", "replayed 2 of 2"))
    assert await tab.run("document.title") != "broken"
    assert not tab.errors


async def test_new_letters_do_not_move_the_buttons_under_the_pointer(operator, bus):
    async with bus.serving(Press().service()):
        await bus.submit("press", "print", "first", tenant="acme")
        tab = await operator.opens("#/dead")
        await tab.until("document.querySelectorAll('.letter').length === 1")
        top = "document.querySelector('.letter button').getBoundingClientRect().top"
        await tab.page.hover(".letter button:text-is('Discard')")
        before = await tab.run(top)
        await bus.submit("press", "print", "second", tenant="acme")
        await tab.until(shows(".more", "1 new dead letter"))
        assert await tab.run("document.querySelectorAll('.letter').length") == 1
        assert await tab.run(top) == before
        await tab.page.mouse.move(1, 1)
        await tab.until("document.querySelectorAll('.letter').length === 2")
        assert await tab.run("document.querySelector('.more').textContent") == ""


async def test_what_is_not_confirmed_is_not_done(operator, bus):
    async with bus.serving(Press().service()):
        await bus.submit("press", "print", "page", tenant="acme")
        tab = await operator.opens("#/dead")
        await tab.until("document.querySelector('.letter')")
        await clicks(tab, "Discard")
        await tab.until(DIALOG)
        await tab.page.keyboard.press("Escape")
        await tab.until(f"!{DIALOG}")
        assert await tab.run("document.querySelectorAll('.letter').length") == 1
        await clicks(tab, "Discard")
        await says(tab, "Discard")
        await tab.until("!document.querySelector('.letter')")


async def test_a_release_is_followed_paused_promoted_and_aborted_from_the_page(operator, place, pictures):
    place.behaviour["v1"] = Behaviour(takes=0.002)
    place.behaviour["v2"] = Behaviour(takes=0.002)
    await place.declare("v1")
    await place.deployer()
    tab = await operator.opens("#/service/app", viewport={"width": 1440, "height": 1100})
    end = await place.load(calls=4, jobs=1)
    await place.deploy("v2", steps=(20, 50, 100), bake=600.0)
    await tab.until(shows(".rollout .tag", "judging"))
    await tab.until(shows(".service > .weights", "v2 20%"))
    await tab.until(shows(".verdict strong", "As good as before"))
    await tab.until("document.querySelectorAll('.numbers .range').length >= 2")
    assert await tab.run("document.querySelector('.numbers thead').textContent") == "v2 newv1 old"
    await tab.page.screenshot(path=pictures / "rollout.png", full_page=True)
    await clicks(tab, "Pause")
    await tab.until(shows(".rollout .tag", "paused"))
    assert (await place.record()).asked[-1].by == "ada"
    await clicks(tab, "Promote")
    await says(tab, "Promote")
    await tab.until(shows(".service > .weights", "v2 50%"))
    await tab.until(shows(".rollout .events", "promoted by ada"))
    await clicks(tab, "Abort")
    await says(tab, "Abort")
    await tab.until(shows(".rollout .tag", "rolled back"))
    await tab.until("document.querySelector('.service > .weights').textContent === 'v1'")
    await end()
    assert await place.route() == {"v1": 100}
    assert "aborted by ada" in await tab.run("document.querySelector('.rollout .events').textContent")
    assert not tab.errors


async def test_a_refusal_is_shown_and_stays_until_it_is_read(operator, place):
    await place.declare("v1")
    await place.deploy("v2", steps=(50, 100))  # no deployer runs: it stays where it is
    tab = await operator.opens("#/service/app")
    await tab.until("!document.querySelector('.rollout')?.hidden")
    await tab.until("document.querySelector('.rollout .destructive:not([hidden])')")
    done = (await place.record()).model_copy(update={"phase": "refused"})
    operator.site.link.cut()  # so that the page does not know
    await place.control.put("rollout.app", done)
    await clicks(tab, "Abort")
    await says(tab, "Abort")
    await tab.until(shows(".notes [role=alert]", "rollout of app is under way"))
    await clicks(tab, "Close", ".notes")
    await tab.until("!document.querySelector('.notes [role=alert]')")
    operator.site.link.mend()


# How it looks, and who can use it.


PAGES = {
    "#/": ".overview tr",
    "#/service/app": ".workers tbody tr",
    "#/dead": ".letter",
    "#/installation": ".installation .rows li",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_phone(operator, place, bus, scheme, pictures):
    await place.declare("v1")
    async with bus.serving(Press().service()):
        await bus.submit("press", "print", "page", tenant="acme")
        tab = await operator.opens(viewport={"width": 360, "height": 780}, color_scheme=scheme, reduced_motion="reduce")
        await tab.until(row("press"))
        for where, there in PAGES.items():
            await tab.run(f"location.hash = {where!r}")
            await tab.until(f"document.querySelector({there!r})")
            assert await tab.run("document.documentElement.scrollWidth") <= 360, where
            name = where.strip("#/").replace("/", "-") or "overview"
            await tab.page.screenshot(path=pictures / f"{name}-{scheme}-phone.png", full_page=True)


async def test_it_is_used_by_keyboard_and_each_control_has_a_name(operator, bus):
    async with bus.serving(Press().service()):
        await bus.submit("press", "print", "page", tenant="acme")
        tab = await operator.opens()
        await tab.until(row("press"))
        keyboard = tab.page.keyboard
        await keyboard.press("j")
        assert await tab.run("document.activeElement.textContent") == "press"
        await keyboard.press("Enter")
        await tab.until("document.title === 'press · Headway'")
        await keyboard.press("Escape")
        await tab.until("document.title === 'Services · Headway'")
        await keyboard.press("2")
        await tab.until("document.querySelector('.letter')")
        nameless = await tab.run("""[...document.querySelectorAll('a, button, input, select, [tabindex="0"]')].filter(
          (one) => one.offsetParent && !(one.getAttribute('aria-label') || one.textContent.trim())).length""")
        assert nameless == 0
        await keyboard.press("t")
        chosen = await tab.run("document.documentElement.dataset.theme")
        await tab.page.reload()
        assert await tab.run("document.documentElement.dataset.theme") == chosen
