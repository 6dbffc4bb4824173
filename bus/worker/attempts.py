"""How often a message has been tried, told apart from how often it was delivered.

JetStream counts deliveries. A delivery also counts when the work was handed back unstarted, when an
acknowledgement got lost, or when the worker died, be it of this message or of another one beside it. So the first
delivery costs nothing, and from the second on a small record per message says what happened before:

- `failures`: attempts that ended in an error;
- `crashes`: attempts that were started and never ended: the worker died with them in hand;
- `running`: an attempt is under way now. Found at the next delivery, it means one more crash.

A message that has crashed twice is run alone: while it runs, no other message that was delivered before does
(`Isolation`). So the poison is found out, and the innocent messages that were beside it are cleared by simply
succeeding. No message is given up for crashes before it has crashed alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

import nats.errors
import orjson
from nats.aio.client import Client

from headway.bus.nats.streams import ATTEMPTS
from headway.bus.retry import Retry
from headway.bus.wire import headers

_TIMEOUT = 2.0
SUSPICIOUS = 2
"""Crashes after which a message is run alone."""

_log = logging.getLogger("headway.bus")


@dataclass(frozen=True, slots=True)
class Attempts:
    """The record of one message."""

    failures: int = 0
    crashes: int = 0
    running: bool = False
    alone: bool = False
    """The attempt under way, or the last one that crashed, was run alone."""

    @property
    def made(self) -> int:
        """Attempts that did not succeed."""
        return self.failures + self.crashes

    def redelivered(self) -> Attempts:
        """The record at a new delivery: an attempt that still counts as running has crashed."""
        return replace(self, crashes=self.crashes + 1, running=False) if self.running else self

    def convicted(self, retry: Retry) -> bool:
        """Whether it is given up: no attempt is left, and it was not only beside another that crashed."""
        return retry.exhausted(self.made) and (self.alone or not self.crashes)

    def suspicious(self, retry: Retry) -> bool:
        """Whether it is to be run alone."""
        return self.crashes >= SUSPICIOUS or (self.crashes > 0 and retry.exhausted(self.made))

    def started(self, *, alone: bool = False) -> Attempts:
        """The record while an attempt runs."""
        return replace(self, running=True, alone=alone)

    def failed(self) -> Attempts:
        """The record after an attempt that ended in an error."""
        return replace(self, failures=self.failures + 1, running=False, alone=False)


NONE = Attempts()


class Isolation:
    """Lets messages run together, or one of them alone. One that wants to be alone goes before those that do not."""

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._waiting = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Run beside others, but beside none that is alone."""
        while self._alone or self._waiting:
            self._changed.clear()
            await self._changed.wait()
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            self._changed.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run when no other does, and let none begin meanwhile."""
        self._waiting += 1
        try:
            while self._alone or self._together:
                self._changed.clear()
                await self._changed.wait()
            self._alone = True
        finally:
            self._waiting -= 1
            self._changed.set()
        try:
            yield
        finally:
            self._alone = False
            self._changed.set()


class AttemptsLog:
    """The records of one service, in the key-value bucket `ATTEMPTS`.

    They are a help, not a gate: when the bucket does not answer, work goes on with what is known.
    """

    def __init__(self, nc: Client, service: str) -> None:
        self._nc = nc
        self._service = service

    async def load(self, stream: str, sequence: int) -> Attempts:
        """The record of a message; an empty one if there is none or the bucket does not answer."""
        subject = self._subject(stream, sequence)
        try:
            reply = await self._nc.request(f"$JS.API.DIRECT.GET.{ATTEMPTS}.{subject}", b"", timeout=_TIMEOUT)
            if not reply.data or headers.STATUS in (reply.headers or {}):
                return NONE
            return Attempts(**orjson.loads(reply.data))
        except (nats.errors.Error, TimeoutError, orjson.JSONDecodeError, TypeError) as error:
            _log.warning("attempts of %s %d are unknown: %r", stream, sequence, error)
            return NONE

    async def save(self, stream: str, sequence: int, record: Attempts) -> None:
        """Store a record, and wait until it is stored."""
        await self._write(stream, sequence, orjson.dumps(asdict(record)))

    async def clear(self, stream: str, sequence: int) -> None:
        """Forget a message that is done."""
        await self._write(stream, sequence, b"")

    async def _write(self, stream: str, sequence: int, payload: bytes) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._nc.request(self._subject(stream, sequence), payload, timeout=_TIMEOUT)
        except (nats.errors.Error, TimeoutError) as error:
            _log.warning("attempts of %s %d are not recorded: %r", stream, sequence, error)

    def _subject(self, stream: str, sequence: int) -> str:
        return f"$KV.ATTEMPTS.{self._service}.{stream}.{sequence}"
