"""A websocket and the NATS protocol by hand: what somebody with a stolen token and a text editor can send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
from urllib.parse import urlsplit


class RawSocket:
    """Attributes: said: all that the server has said, line by line; closed: whether it has let us go."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.said: list[str] = []
        self.closed = False

    @classmethod
    async def connect(cls, url: str, jwt: str) -> RawSocket:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        socket = cls(reader, writer)
        options = {"jwt": jwt, "verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        socket.send(f"CONNECT {json.dumps(options)}\r\n")
        await socket.settle()
        return socket

    def send(self, text: str) -> None:
        payload = text.encode()
        mask = os.urandom(4)
        size = len(payload)
        head = struct.pack(">BB", 0x82, 0x80 | size) if size < 126 else struct.pack(">BBH", 0x82, 0x80 | 126, size)
        self._writer.write(head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)))

    async def settle(self) -> list[str]:
        """Wait until the server has judged all that was sent; what it said since the last time."""
        begin = len(self.said)
        self.send("PING\r\n")
        async with asyncio.timeout(30):
            while "PONG" not in self.said[begin:]:
                self.said += (await self._frame()).decode().replace("\r\n", "\n").split("\n")
        return self.said[begin:]

    async def _frame(self) -> bytes:
        kind, size = await self._reader.readexactly(2)
        if kind & 0x0F == 8:
            self.closed = True
            raise ConnectionResetError("the server has closed the websocket")
        if size == 126:
            (size,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self._reader.readexactly(8))
        return await self._reader.readexactly(size)

    async def until_closed(self) -> None:
        """Read what the server says until it closes the connection.

        Nothing is sent meanwhile: a server that closes with bytes unread resets the connection, and what it said last
        could be lost.
        """
        async with asyncio.timeout(30):
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self.said += (await self._frame()).decode().replace("\r\n", "\n").split("\n")

    async def may_publish(self, subject: str, reply: str = "") -> bool:
        self.send(f"PUB {subject} {reply} 2\r\n{{}}\r\n")
        return not any("Permissions Violation" in line for line in await self.settle())

    async def may_subscribe(self, subject: str) -> bool:
        self.send(f"SUB {subject} 1{len(self.said)}\r\n")
        return not any("Permissions Violation" in line for line in await self.settle())

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
