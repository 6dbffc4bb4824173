"""Connections of strangers to the web server: they end, and keep nobody out who asks for something."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from headway.clientsync.web.connections import Bounds

SILENT = 2050


@asynccontextmanager
async def connections(site, count: int, sources: int, said: bytes = b""):
    """Connections that say no more than this, from several addresses of this machine."""
    host, port = httpx.URL(site.url).host, httpx.URL(site.url).port
    async with AsyncExitStack() as stack:

        async def one(number: int):
            source = (f"127.0.1.{1 + number % sources}", 0)
            reader, writer = await asyncio.open_connection(host, port, local_addr=source)
            stack.callback(writer.close)
            writer.write(said)
            return reader

        opened = []
        for start in range(0, count, 50):
            opened += await asyncio.gather(*(one(n) for n in range(start, min(count, start + 50))))
        yield opened


async def closed(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return await reader.read() == b""
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"POST /session HTTP/1.1\r\n"])
async def test_thousands_of_silent_connections_keep_nobody_out(bus, start_site, said):
    site = await start_site(bus.broker, bounds=Bounds(request=60))
    async with connections(site, SILENT, 60, said):
        assert (await site.http.get("/health")).status_code == 200
        assert (await site.session())["tenant"] == "acme"
        async with httpx.AsyncClient(base_url=site.url) as newcomer:
            assert (await newcomer.get("/health")).status_code == 200


async def test_silent_connections_of_ones_own_address_keep_nobody_out(bus, start_site):
    site = await start_site(bus.broker, bounds=Bounds(address=20, request=60))
    host, port = httpx.URL(site.url).host, httpx.URL(site.url).port
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(30):
            reader, writer = await asyncio.open_connection(host, port)
            stack.callback(writer.close)
            readers.append(reader)
        async with httpx.AsyncClient(base_url=site.url) as newcomer:
            assert (await newcomer.get("/health")).status_code == 200
        async with asyncio.timeout(5):
            assert await closed(readers[0])


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        b"POST /dev/token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_a_request_that_does_not_arrive_ends_its_connection(bus, start_site, said):
    site = await start_site(bus.broker, bounds=Bounds(request=0.5))
    began = time.monotonic()
    async with connections(site, 1, 1, said) as [reader], asyncio.timeout(5):
        assert await closed(reader)
    assert time.monotonic() - began >= 0.4


async def test_a_request_that_trickles_in_ends_its_connection_too(bus, start_site):
    site = await start_site(bus.broker, bounds=Bounds(request=0.5))
    host, port = httpx.URL(site.url).host, httpx.URL(site.url).port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /health HTTP/1.1\r\n")

    async def trickle():
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)

    trickling = asyncio.ensure_future(trickle())
    async with asyncio.timeout(5):
        assert await closed(reader)
    trickling.cancel()
    writer.close()


async def test_a_connection_that_asks_again_in_time_stays(bus, start_site):
    site = await start_site(bus.broker, bounds=Bounds(request=0.5))
    async with httpx.AsyncClient(base_url=site.url) as one:
        for _ in range(4):
            assert (await one.get("/health")).status_code == 200
            await asyncio.sleep(0.3)
        [connection] = one._transport._pool.connections
        assert "Request Count: 4" in repr(connection)
