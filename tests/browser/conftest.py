"""A real Chromium, real pages, a real server behind a link that can be cut."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from headway.broker.testing import TestBus
from headway.clientsync.server import PAGES, Options, serving

BROWSER = PAGES.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")

_OPEN = """async ({tenant, user, base, badToken, ...options}) => {
  const { openStore } = await import(`${base}/index.js`);
  const token = async () => {
    if (badToken) return badToken;
    const body = JSON.stringify({tenant, user});
    const headers = {'Content-Type': 'application/json'};
    const asked = await fetch(`${base}/dev/token`, {method: 'POST', headers, body});
    return (await asked.json()).token;
  };
  window.seen = []; window.statuses = []; window.refusals = []; window.disks = [];
  window.troubles = []; window.conflicts = [];
  window.store = await openStore({session: {url: `${base}/session`, token}, cache: `${tenant}/${user}`, ...options});
  store.subscribe((keys) => seen.push(...keys.map(({type, id}) => [type, id, store.read(type, id)?.seq ?? null])));
  store.on('status', (status) => statuses.push(status));
  store.on('disk', (state) => disks.push(state));
  store.on('trouble', (error) => troubles.push(error.code));
  store.on('conflict', (report) => conflicts.push(report));
  store.on('refused', ({entry, error}) => refusals.push([entry.id, error.code]));
  return store.status;
}"""


@dataclass
class Tab:
    """A page with a store in it, if it has been opened."""

    page: Page
    errors: list[str]

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.location["url"].endswith("/favicon.ico"):
            self.errors.append(message.text)

    async def open(self, *types: str, tenant: str = "acme", user: str = "ada", **options: Any) -> str:
        return await self.page.evaluate(_OPEN, {"tenant": tenant, "user": user, "base": "", "types": types, **options})

    async def run(self, script: str, argument: Any = None) -> Any:
        return await self.page.evaluate(script, argument)

    async def until(self, condition: str, timeout: float = 30.0) -> Any:
        """Wait until an expression is true. A page's policy forbids Playwright's own way, which evaluates in it."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := await self.page.evaluate(condition)):  # noqa: ASYNC110  # a page sets no event
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            state = await self.page.evaluate("window.store ? [store.stats(), statuses] : null")
            raise AssertionError(f"never: {condition}; {state}; {self.errors}") from None

    async def current(self) -> None:
        await self.until("store.status === 'current'")


@dataclass
class Site:
    """Client sync for pages, over a link to the server's websocket.

    Attributes:
        url: of the pages.
        link: what the pages' websockets go through.
        beside: what is served beside the pages.
    """

    bus: TestBus
    link: Any
    url: str
    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    beside: list[Any] = field(default_factory=list)
    _stop: Callable[[], Any] | None = None

    async def context(self, **options: Any) -> BrowserContext:
        made = await self.browser.new_context(**options)
        self.contexts.append(made)
        return made

    async def tab(self, context: BrowserContext | None = None, *, path: str = "/icon.svg", init: str = "") -> Tab:
        """A page of this site; by default one without any script, to open a store in."""
        context = context or await self.context()
        page = await context.new_page()
        tab = Tab(page, [])
        page.on("console", tab.heard)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        if init:
            await page.add_init_script(init)
        await page.goto(self.url + path)
        return tab

    async def stop(self) -> None:
        """Stop client sync: no HTTP, nobody who answers."""
        assert self._stop is not None
        await self._stop()
        self._stop = None

    async def start(self, **options: Any) -> None:
        """Start it, on the same port if it ran before."""
        stack = AsyncExitStack()
        port = int(self.url.rsplit(":", 1)[1]) if self.url else 0
        ws = self.link.url.replace("nats://", "ws://")
        self.options.update(options)
        self.url = await stack.enter_async_context(
            serving(self.bus.broker, Options(ws_url=ws, port=port, development=True, **self.options), self.beside)
        )
        self._stop = stack.aclose


@pytest.fixture
async def browser(missing):
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        missing("Chromium is not installed (Debian/Ubuntu: apt install chromium)")
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"]
        launched = await playwright.chromium.launch(executable_path=found, args=arguments)
        yield launched
        await launched.close()


@pytest.fixture
async def site(bus, link, browser, missing):
    if not (PAGES / "index.js").exists():
        missing("the browser side is not built: scripts/build-browser")
    to_websocket = type(link)(bus.broker.ws_url.replace("ws://", "nats://"))
    await to_websocket.start()
    made = Site(bus, to_websocket, "", browser)
    await made.start()
    yield made
    for context in made.contexts:
        await context.close()
    if made._stop is not None:
        await made.stop()
    await to_websocket.stop()


@pytest.fixture
def acme(bus):
    return bus.tenant("acme")


@pytest.fixture
def pictures(tmp_path_factory) -> Path:
    """Where screenshots go, for whoever wants to look at them."""
    return tmp_path_factory.mktemp("pictures")
