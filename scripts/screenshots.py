"""Takes the pictures of README and docs from the running system: real services, real work, a real Chromium.

    make screenshots        # writes docs/images/*.png, light and dark

Another page is one more entry in `PAGES`.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from headway.config import Config, ServerConfig, ServiceConfig, WebConfig
from headway.console.access import Access
from headway.control.store import Control
from headway.demo import work
from headway.demo.drive import Drive
from headway.demo.release import Release
from headway.demo.tally import DemoTally
from headway.installation import Installation
from headway.loglines import say

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
MOST: Final = 150_000
"""Bytes of a picture."""
PATIENCE: Final = 60.0
"""Seconds that a page has to show something, on a busy machine."""
RELEASES: Final = 180.0
"""Seconds for one release that goes through and one that is taken back."""
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, slots=True)
class Shot:
    """One page to take a picture of.

    Attributes:
        name: of the picture's files.
        path: of the page; `{code}` is one that signs an operator in.
        prepare: brings it to what shall be seen.
        size: of the window.
    """

    name: str
    path: str
    prepare: Callable[[Page], Awaitable[None]]
    size: tuple[int, int] = (1280, 900)


async def until(page: Page, condition: str) -> None:
    """Wait until an expression is true. The page's policy forbids Playwright's own way, which evaluates in it."""
    async with asyncio.timeout(PATIENCE):
        while not await page.evaluate(condition):  # noqa: ASYNC110  # a page sets no event
            await asyncio.sleep(0.05)


async def desks(page: Page) -> None:
    """Both tenants at work: calls that talk and wait, faxes, a voicemail."""
    desk = "document.querySelector('[data-tenant={}]')"
    for number, tenant in enumerate(("acme", "globex"), 1):
        here = desk.format(tenant)
        await until(page, f"{here}?.querySelector('.pill')?.textContent === 'Up to date'")
        await page.keyboard.press(str(number))
        for key in "cccvf":
            await page.keyboard.press(key)
        await until(page, f"{here}.querySelectorAll('.call[data-state=active]').length >= 2")
        await until(page, f"{here}.querySelector('.voicemail .wave rect')")
        await until(page, f"{here}.querySelector('.fax[data-state=sent]')")
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")


async def overview(page: Page) -> None:
    """Open the console's services page, with recent events."""
    await until(page, "document.getElementById('status')?.textContent === 'Live'")
    await until(page, "document.querySelector('.activity')?.textContent.includes('rolled back')")


async def release(page: Page) -> None:
    """Open a release that was rolled back, with its evidence."""
    await overview(page)
    await page.evaluate("location.hash = '#/service/fax'")
    await until(page, "document.querySelector('.numbers .range')")


CONSOLE: Final = "/console/#code={code}"
PAGES: Final = (Shot("demo", "/demo/", desks),)
RELEASED: Final = (Shot("console", CONSOLE, overview, (1280, 780)), Shot("release", CONSOLE, release))
"""Those of an installation that has had releases."""


async def main() -> None:
    """Start everything, do some work, take all pictures."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        sys.exit("Chromium is not installed (Debian/Ubuntu: apt install chromium)")
    with tempfile.TemporaryDirectory(prefix="headway-screenshots-") as directory:
        async with Installation.start(_config(directory), say=say, grace=5) as running, async_playwright() as driver:
            jobs, callers = [*work.faxes(3), *work.recordings(1)], work.callers(2)
            await Drive(running, DemoTally(), jobs, callers).run(PATIENCE)
            assert running.web_url is not None  # `start` has waited for it
            browser = await driver.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-background-networking"]
            )
            for shot in PAGES:
                await _take(browser, running.web_url + shot.path, shot)
            await Release(running, running.config.services["fax"].config).run(RELEASES)
            for shot in RELEASED:
                code = await Access(Control(running.bus)).code("ada")
                await _take(browser, running.web_url + shot.path.format(code=code), shot)
            await browser.close()


async def _take(browser: Browser, address: str, shot: Shot) -> None:
    width, height = shot.size
    page = await browser.new_page(viewport={"width": width, "height": height})
    await page.goto(address)
    await shot.prepare(page)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        _write(await page.screenshot(animations="disabled"), IMAGES / f"{shot.name}-{scheme}.png")
    await page.close()


def _write(picture: bytes, path: Path) -> None:
    """Keep a picture in as many colours as a page has, rather than a photograph's."""
    small = Image.open(io.BytesIO(picture)).convert("RGB").quantize(192, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.relative_to(IMAGES.parents[1])}: {size // 1000} kB")
    if size > MOST:
        sys.exit(f"{path} is too large for a README")


def _config(directory: str) -> Config:
    return Config(
        services={
            "calls": ServiceConfig(app="headway.services.calls:calls"),
            "fax": ServiceConfig(
                app="headway.services.fax:fax", config={"speed": 200, "busy_share": 0, "no_answer_share": 0}
            ),
            "voicemail": ServiceConfig(app="headway.services.voicemail:voicemail"),
        },
        server=ServerConfig(port=0, websocket_port=0, store=str(Path(directory) / ".headway")),
        web=WebConfig(port=0, dev_issuer=True),
    )


if __name__ == "__main__":
    asyncio.run(main())
