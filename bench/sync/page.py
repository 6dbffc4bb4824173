"""A real page in Chromium with the real store: loading, catching up, and painting stored objects."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import BrowserContext, Page, async_playwright

from bench.sync.change import TENANT, TYPE, fax
from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.clientsync.server import PAGES, Options, serving

CHANGED: Final = 50
_PATIENCE: Final = 60.0
_AT_ONCE: Final = 128
_CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")

_OPEN = """async ({tenant, type, cache}) => {
  const { openStore } = await import('/index.js');
  const headers = {'Content-Type': 'application/json'};
  const body = JSON.stringify({tenant, user: 'ada'});
  const token = async () => (await (await fetch('/dev/token', {method: 'POST', headers, body})).json()).token;
  window.store = await openStore({session: {url: '/session', token}, cache, types: [type]});
}"""

_UNTIL_CURRENT = """() => new Promise((resolve) => {
  const began = performance.now();
  const look = () => (store.status === 'current' ? resolve(performance.now() - began) : setTimeout(look, 1));
  look();
})"""

_CATCH_UP = """([type, id, sent]) => new Promise((resolve) => {
  const began = performance.now();
  const look = () => (store.status === 'current' && store.get(type, id)?.sent === sent
    ? resolve(performance.now() - began) : setTimeout(look, 1));
  store.resume();
  look();
})"""

# From opening to the frame that shows the first rows: the time a user waits once the code is loaded.
_PAINTED = """
  const list = document.createElement('ul');
  document.body.append(list);
  const paint = (items) => list.append(...items.map(({id, value}) => {
    const row = document.createElement('li');
    row.textContent = `${id} ${value.to} ${value.state}`;
    return row;
  }));
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(0);
  }));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const began = performance.now();
"""

_PAINT = (
    """async ({type, cache}) => {
  const { openStore } = await import('/index.js');"""
    + _PAINTED
    + """
  const store = await openStore({session: {url: '/session', token: () => ''}, cache, types: [type]});
  const {items, total} = store.view({type, orderBy: 'sent', descending: true, limit: 60}).get();
  paint(items);
  await frame();
  const took = performance.now() - began;
  await store.close();
  return [took, total];
}"""
)

# The peer: the same objects as a page would keep them without a store, one record each.
_KEEP_PLAIN = """({type}) => new Promise((resolve, reject) => {
  const opening = indexedDB.open('plain', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('objects', {keyPath: 'id'});
  opening.onsuccess = () => {
    const writing = opening.result.transaction('objects', 'readwrite');
    for (const {id, seq, value} of store.list({type})) writing.objectStore('objects').put({id, seq, value});
    writing.oncomplete = () => resolve(opening.result.close());
    writing.onabort = () => reject(writing.error);
  };
})"""

_PAINT_PLAIN = (
    "async () => {"
    + _PAINTED
    + """
  const done = (asked) => new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  const opened = await done(indexedDB.open('plain'));
  const items = await done(opened.transaction('objects').objectStore('objects').getAll());
  items.sort((a, b) => b.value.sent - a.value.sent);
  paint(items.slice(0, 60));
  await frame();
  const took = performance.now() - began;
  opened.close();
  return [took, items.length];
}"""
)

_EMPTY: Final = "/health"
"""A page without scripts that has already shown some text, as an application would have by then."""


@dataclass(frozen=True, slots=True)
class Found:
    """The measurements of a page.

    Attributes:
        reload_bytes, reload_ms: to load all objects.
        catch_up_bytes, catch_up_ms: to catch up with 50 changes.
        paints_ms: from opening the store to the frame that shows it, each time.
        plain_ms: the same of plain IndexedDB, in turns with it.
    """

    reload_bytes: int
    reload_ms: float
    catch_up_bytes: int
    catch_up_ms: float
    paints_ms: tuple[float, ...]
    plain_ms: tuple[float, ...]


async def measure(broker: Broker, bus: Bus, objects: int, rounds: int) -> Found | None:
    """Run a page; None if there is no Chromium, or nothing to show in it.

    Args:
        broker: the server.
        bus: a connection that may write objects.
        objects: how many there are.
        rounds: how many times it paints.

    Raises:
        RuntimeError: if the page does not get all objects.
    """
    chromium = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if chromium is None or not (PAGES / "index.js").exists() or broker.ws_url is None:
        return None
    await _fill(bus, objects)
    options = Options(ws_url=broker.ws_url, port=0, development=True)
    arguments = ["--no-sandbox", "--disable-background-networking"]
    async with serving(broker, options) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await _measure(await browser.new_context(), url, bus, objects, rounds)
        except TimeoutError as error:
            raise RuntimeError("the page did not finish") from error
        finally:
            await browser.close()


async def _measure(context: BrowserContext, url: str, bus: Bus, objects: int, rounds: int) -> Found:
    names = {"tenant": TENANT, "type": TYPE, "cache": "bench"}
    page = await _page(context, url)
    await page.evaluate(_OPEN, names)
    reload_ms = await page.evaluate(_UNTIL_CURRENT)
    whole = await _stats(page)
    if whole["objects"] != objects:
        raise RuntimeError(f"the page has {whole['objects']} of {objects} objects")
    await page.evaluate("store.pause()")
    before = (await _stats(page))["bytes"]
    last: dict[str, Any] = {}
    for number in range(CHANGED):
        last = fax(number * (objects // CHANGED))
        await bus.tenant(TENANT).objects.put(TYPE, last["fax"], last)
    catch_up_ms = await page.evaluate(_CATCH_UP, [TYPE, last["fax"], last["sent"]])
    catch_up_bytes = (await _stats(page))["bytes"] - before
    await page.evaluate(_KEEP_PLAIN, names)
    await page.evaluate("store.close()")
    await page.close()
    paints: dict[str, list[float]] = {_PAINT: [], _PAINT_PLAIN: []}
    for _ in range(rounds):
        for script, taken in paints.items():
            page = await _page(context, url)
            took, total = await page.evaluate(script, names)
            if total != objects:
                raise RuntimeError(f"a page painted {total} of {objects} objects")
            taken.append(took)
            await page.close()
    ours, plain = (tuple(taken) for taken in paints.values())
    return Found(whole["bytes"], reload_ms, catch_up_bytes, catch_up_ms, ours, plain)


async def _page(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url + _EMPTY)
    await page.evaluate("import('/index.js')")
    return page


async def _stats(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate("store.stats()")
    return found


async def _fill(bus: Bus, objects: int) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def put(number: int) -> None:
        async with turn:
            value = fax(number)
            await bus.tenant(TENANT).objects.put(TYPE, value["fax"], value)

    async with asyncio.TaskGroup() as group:
        for number in range(objects):
            group.create_task(put(number))
