"""Pages below a path, behind a real reverse proxy (nginx) that takes the path away."""

from __future__ import annotations

import asyncio
import shutil
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from headway.console.access import Access
from headway.console.web import Console
from headway.control.store import Control
from headway.services.calls import calls

CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /hw/ {{
      proxy_pass {site}/;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""


@pytest.fixture
async def proxied(site, bus, tmp_path, missing):
    """The site with its console, below /hw/ of an nginx."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
    if nginx is None:
        missing("nginx is not installed (Debian/Ubuntu: apt install nginx-light)")
    async with await bus.broker.connect("operator", name="console") as connection:
        ws_url = site.link.url.replace("nats://", "ws://")
        site.beside = [Console(bus.broker, connection, ws_url=ws_url, holder="test", period=0.2)]
        await site.stop()
        await site.start()
        with socket.create_server(("127.0.0.1", 0)) as free:  # the last thing before nginx takes it
            port = free.getsockname()[1]
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(directory=tmp_path, port=port, site=site.url))
        process = await asyncio.create_subprocess_exec(nginx, "-p", tmp_path, "-c", config)
        try:
            async with httpx.AsyncClient() as client, asyncio.timeout(10):
                while True:
                    try:
                        await client.get(f"http://127.0.0.1:{port}/hw/health")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()
            site.beside = []
            await site.stop()
            await site.start()  # without the console, whose connection ends here


async def visit(site, address: str):
    tab = await site.tab()
    await tab.page.goto(address)
    return tab


async def test_the_demo_works_below_a_path(site, bus, proxied):
    async with bus.serving(calls):
        tab = await visit(site, f"{proxied}/hw/demo/")
        desk = "document.querySelector('[data-tenant=acme]')"
        await tab.until(f"{desk}?.querySelector('.pill')?.textContent === 'Up to date'")
        await tab.page.keyboard.press("c")
        await tab.until(f"{desk}.querySelector('.call[data-state=active]')")
        await tab.page.click("[data-tenant=acme] footer button")
        await tab.until(f"{desk}.querySelector('.verdict.good')")
        assert not tab.errors


async def test_the_console_works_below_a_path(site, bus, proxied):
    async with bus.serving(calls):
        code = await Access(Control(bus.bus)).code("ada")
        tab = await visit(site, f"{proxied}/hw/console/#code={code}")
        await tab.until("document.getElementById('status').textContent === 'Live'")
        await tab.until("document.querySelector('.overview tbody')?.textContent.includes('calls')")
        await tab.page.click("#sign-out")
        await tab.until("document.querySelector('.sign-in')")
        assert not tab.errors


async def test_a_store_works_below_a_path_and_no_address_leads_out_of_it(site, acme, proxied):
    tab = await visit(site, f"{proxied}/hw/icon.svg")
    await tab.open("note", base="/hw")
    await tab.current()
    await acme.objects.put("note", "a", {"n": 1})
    await tab.until("store.get('note', 'a')")
    async with httpx.AsyncClient() as client:
        redirect = await client.get(f"{proxied}/hw/console")
        assert redirect.status_code == 307
        assert urlsplit(str(redirect.url.join(redirect.headers["Location"]))).path == "/hw/console/"
