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
from dataclasses import asdict, dataclass, fields, replace

import orjson
from nats.js import JetStreamContext

from headway.bus.errors import HeadwayError, StoreError
from headway.bus.nats import values
from headway.bus.nats.streams import ATTEMPTS
from headway.bus.retry import Retry
from headway.bus.wire import headers

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
    blocked: str = ""
    """Where the attempt that crashed had blocked the event loop; empty if it had not."""
    cause: str = ""
    """Why the message is given up, once that is decided: it is not run again, its letter is still to be stored."""
    reason: str = ""
    digest: str = ""

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
        return self.crashes >= SUSPICIOUS or (self.crashes > 0 and (bool(self.blocked) or retry.exhausted(self.made)))

    def started(self, *, alone: bool = False) -> Attempts:
        """The record while an attempt runs."""
        return replace(self, running=True, alone=alone)

    def blocking(self, where: str) -> Attempts:
        """The record of an attempt that blocks the event loop: if the worker is killed for it, this is why."""
        return replace(self, running=True, blocked=where)

    def failed(self) -> Attempts:
        """The record after an attempt that ended in an error."""
        return replace(self, failures=self.failures + 1, running=False, alone=False, blocked="")

    def sentenced(self, cause: str, reason: str, digest: str) -> Attempts:
        """The record of a message that is given up, but whose letter could not be stored yet."""
        return replace(self, running=False, cause=cause, reason=reason, digest=digest)


NONE = Attempts()
_FIELDS = frozenset(field.name for field in fields(Attempts))


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

    Without them nobody knows how often a message may still be run. So what cannot be read or written is raised, and
    the message waits (bus/worker/work.py): none is run more often than allowed.

    Args:
        js: the context.
        service: whose messages.
    """

    def __init__(self, js: JetStreamContext, service: str) -> None:
        self._js = js
        self._service = service

    async def load(self, stream: str, sequence: int) -> Attempts:
        """Return the record of a message; an empty one if there is none.

        Raises:
            StoreError: if the bucket refuses, or holds something else.
            ConnectionFailed: without an answer in time.
        """
        reply = await values.last(self._js, ATTEMPTS, self._subject(stream, sequence))
        if not reply.data or headers.STATUS in (reply.headers or {}):
            return NONE
        try:
            found = orjson.loads(reply.data)
            return Attempts(**{name: value for name, value in found.items() if name in _FIELDS})
        except (orjson.JSONDecodeError, AttributeError) as error:
            raise StoreError(
                f"the attempts of {stream} {sequence} cannot be read", remedy="purge the record"
            ) from error

    async def save(self, stream: str, sequence: int, record: Attempts) -> None:
        """Store a record, and wait until it is stored.

        Raises:
            QueueFull, StoreError: if the bucket is full, or refuses.
            NotStored: without an acknowledgement in time.
        """
        await values.write(self._js, ATTEMPTS, self._subject(stream, sequence), orjson.dumps(asdict(record)), {}, None)

    async def clear(self, stream: str, sequence: int) -> None:
        """Forget a message that is done. That this fails costs a record of a day, and is logged."""
        try:
            await values.write(self._js, ATTEMPTS, self._subject(stream, sequence), b"", {}, None)
        except HeadwayError as error:
            _log.warning("the attempts of %s %d are not cleared: %s", stream, sequence, error)

    def _subject(self, stream: str, sequence: int) -> str:
        return f"$KV.ATTEMPTS.{self._service}.{stream}.{sequence}"
