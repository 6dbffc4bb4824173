"""Very cheap websocket clients: plain sockets in one epoll loop, so that the server is the bottleneck."""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from array import array
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import orjson

from bench.sync.change import LONGEST, SENT

_TIMEOUT: Final = 20.0
_CHUNK: Final = 1 << 13
_QUIET: Final = 0.5
_FEW: Final = 200
"""With fewer ready sockets it waits a moment for more: polling many costs little more than polling one."""
_MOMENT: Final = 0.002


def frame(payload: bytes) -> bytes:
    """Return a masked binary frame, as clients must send.

    The mask is zero, which leaves the payload as it is.
    """
    length = len(payload)
    if length < 126:
        head = bytes([0x82, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([0x82, 0xFE]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x82, 0xFF]) + length.to_bytes(8, "big")
    return head + bytes(4) + payload


@dataclass(slots=True)
class Client:
    """One connection.

    Attributes:
        socket: it.
        rest: the end of what was read, which may hold the beginning of a change.
        changes: how many came.
        bytes: how many bytes came.
    """

    socket: socket.socket
    rest: bytes = b""
    changes: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Arrival:
    """The result of a wait.

    Attributes:
        changes: how many changes arrived, over all clients.
        last: when the last one did, in nanoseconds.
        latencies: of each, in nanoseconds.
    """

    changes: int = 0
    last: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))


class Clients:
    """A number of clients of one server."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}

    def connect(self, count: int, url: str, *, jwt: str | None, subject: str, deflate: bool = False) -> None:
        """Make connections.

        Args:
            count: how many.
            url: of the websocket.
            jwt: to be a client of nats-server; None for a websocket that says nothing but changes.
            subject: to subscribe to.
            deflate: ask for compression.

        Raises:
            OSError: if the server refuses.
        """
        for _ in range(count):
            opened = _handshake(url, deflate=deflate)
            if jwt is not None:
                hello = orjson.dumps({"jwt": jwt, "headers": True, "no_responders": True, "protocol": 1}).decode()
                opened.sendall(frame(f"CONNECT {hello}\r\nSUB {subject} 1\r\nPING\r\n".encode()))
                # A compressed answer cannot be read here; that it comes says enough.
                _read_until(opened, None if deflate else b"PONG")
            opened.setblocking(False)
            self._clients[opened.fileno()] = Client(opened)
            self._epoll.register(opened.fileno(), select.EPOLLIN)

    def expect(self, changes: int, timeout: float) -> Arrival:
        """Wait until each client has received a number of changes, or the time is over.

        Raises:
            OSError: if a server closes a connection.
        """
        found = Arrival()
        for client in self._clients.values():
            client.changes = 0
        missing = changes * len(self._clients)
        until = time.perf_counter() + timeout
        while found.changes < missing and time.perf_counter() < until:
            ready = self._epoll.poll(0.1, len(self._clients))
            for number, _ in ready:
                self._take(self._clients[number], found)
            if len(ready) < _FEW:
                time.sleep(_MOMENT)
        return found

    def weigh(self, timeout: float) -> list[int]:
        """Read until nothing arrives for a while; return the bytes of each client since the last time."""
        ignored = Arrival()
        for client in self._clients.values():
            client.bytes = 0
        until = time.perf_counter() + timeout
        quiet = 0.0
        while time.perf_counter() < until and quiet < _QUIET:
            ready = self._epoll.poll(0.1)
            quiet = 0.0 if ready or not any(c.bytes for c in self._clients.values()) else quiet + 0.1
            for number, _ in ready:
                self._take(self._clients[number], ignored)
        return [client.bytes for client in self._clients.values()]

    def close(self) -> None:
        """Close all of them."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._epoll.close()

    @staticmethod
    def _take(client: Client, found: Arrival) -> None:
        data = client.socket.recv(_CHUNK)
        now = time.perf_counter_ns()
        client.bytes += len(data)
        stream = client.rest + data if client.rest else data
        at = stream.find(SENT)
        if at < 0:
            if not data:
                raise OSError("the server closed a connection")
            if b"PING\r\n" in data:
                client.socket.send(frame(b"PONG\r\n"))
        rest = 0
        while at >= 0:
            end = stream.find(b"}", at)
            if end < 0:
                break
            client.changes += 1
            found.changes += 1
            found.latencies.append(now - int(stream[at + len(SENT) : end]))
            rest = end + 1
            at = stream.find(SENT, rest)
        found.last = now
        client.rest = stream[max(rest, len(stream) - LONGEST) :] if rest < len(stream) else b""


def _handshake(url: str, *, deflate: bool) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    opened = socket.create_connection((parts.hostname, parts.port or 80), _TIMEOUT)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [
        f"GET {parts.path or '/'} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if deflate:
        lines.append(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = _read_until(opened, b"\r\n\r\n")
    if b" 101 " not in answer:
        raise OSError(f"no websocket: {answer[:80]!r}")
    return opened


def _read_until(opened: socket.socket, end: bytes | None) -> bytes:
    """Read until something arrives; with `end`, until that has arrived."""
    heard = b""
    while not heard or (end is not None and end not in heard):
        piece = opened.recv(_CHUNK)
        if not piece:
            raise OSError(f"the server closed the connection: {heard[-120:]!r}")
        heard += piece
    return heard
