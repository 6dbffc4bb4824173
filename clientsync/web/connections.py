"""Bounds of HTTP connections: silent ones are closed, and never keep out those that ask for something.

A connection is silent while the server waits for the rest of a request. When there is no room for a new connection,
the oldest silent one makes way. Addresses of people who have signed in have room of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

C = TypeVar("C")

MAX_KNOWN: Final = 10_000
"""Addresses of signed-in people that are remembered; each takes about 200 bytes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of connections.

    Attributes:
        connections: of all addresses together.
        reserve: how many of these only addresses with a signed-in person may use.
        address: of one address.
        known_address: of one address with a signed-in person: a company may have one address.
        request: seconds in which a request has to arrive, from the connection or the last answer on.
        answer: seconds in which it has to be answered and the answer be taken.
        known: seconds that an address counts as known after somebody has signed in.
    """

    connections: int = 2048
    reserve: int = 512
    address: int = 128
    known_address: int = 1024
    request: float = 10.0
    answer: float = 60.0
    known: float = 3600.0


class Admission(Generic[C]):
    """Decides which connections stay. It does no I/O; the caller passes the time in monotonic seconds.

    Args:
        bounds: the bounds.
        proxies: addresses, networks or "*" of trusted proxies, joined by commas: many people share their addresses.
    """

    def __init__(self, bounds: Bounds, proxies: str | None = None) -> None:
        self.bounds = bounds
        self._addresses: dict[C, tuple[str, bool]] = {}
        self._of: dict[str, OrderedDict[C, None]] = {}
        self._silent: dict[bool, OrderedDict[C, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._known: OrderedDict[str, float] = OrderedDict()
        self._proxies = [part for name in (proxies or "").split(",") if (part := _network(name.strip())) is not None]
        self._any_proxy = "*" in (proxies or "")

    def __len__(self) -> int:
        return len(self._addresses)

    def signed_in(self, address: str, now: float) -> None:
        """Remember that somebody at an address has signed in."""
        self._known[address] = now + self.bounds.known
        self._known.move_to_end(address)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def admit(self, connection: C, address: str, now: float) -> list[C]:
        """Take a new connection, which is silent; return the connections to close, possibly the new one."""
        bounds, proxy = self.bounds, self._trusted(address)
        known = proxy or self._known.get(address, 0.0) > now
        self._addresses[connection] = (address, known)
        self._of.setdefault(address, OrderedDict())[connection] = None
        self._silent[known][connection] = None
        closing: list[C] = []
        if not proxy and len(self._of[address]) > (bounds.known_address if known else bounds.address):
            closing = [next(one for one in self._of[address] if self._is_silent(one))]
        elif len(self) > bounds.connections - (0 if known else bounds.reserve):
            # Addresses of strangers make way first, and never displace those of people who have signed in.
            closing = [next(iter(self._silent[False] or self._silent[True]))]
        for one in closing:
            self.gone(one)
        return closing

    def busy(self, connection: C) -> None:
        """Note that a connection's request has arrived."""
        for silent in self._silent.values():
            silent.pop(connection, None)

    def silent(self, connection: C) -> None:
        """Note that a connection's request was answered."""
        if connection in self._addresses:
            _, known = self._addresses[connection]
            self._silent[known][connection] = None
            self._silent[known].move_to_end(connection)

    def gone(self, connection: C) -> None:
        """Note that a connection is closed."""
        address, _ = self._addresses.pop(connection, (None, False))
        self.busy(connection)
        if address is not None:
            del self._of[address][connection]
            if not self._of[address]:
                del self._of[address]

    def _is_silent(self, connection: C) -> bool:
        return any(connection in silent for silent in self._silent.values())

    def _trusted(self, address: str) -> bool:
        if self._any_proxy:
            return True
        found = _network(address)
        return found is not None and any(
            found.version == proxy.version and found.network_address in proxy for proxy in self._proxies
        )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def protocol(admission: Admission[Any]) -> Callable[..., asyncio.Protocol]:
    """Return uvicorn's protocol with the bounds of `admission`."""
    return partial(_Bounded, admission)


class _Bounded(H11Protocol):
    """uvicorn's protocol, whose connections are admitted and have deadlines."""

    def __init__(self, admission: Admission[_Bounded], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._admission = admission
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base class
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._set_deadline(self._admission.bounds.request)
        for one in self._admission.admit(self, address, time.monotonic()):
            one.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._admission.gone(self)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        cycle: Any = self.cycle  # None before the first request
        arrived = cycle is not None and not cycle.response_complete and not cycle.more_body
        if arrived and self._waiting and self.conn.their_state is not h11.ERROR:
            self._waiting = False
            self._admission.busy(self)
            self._set_deadline(self._admission.bounds.answer)

    def on_response_complete(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._admission.silent(self)
            self._set_deadline(self._admission.bounds.request)
        super().on_response_complete()  # it may find the next request in its buffer

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)
