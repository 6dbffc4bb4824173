"""Records of a message's attempts, which differ from its deliveries.

JetStream counts deliveries. A delivery also counts if the work was handed back unstarted, if an acknowledgement was
lost, or if the worker died, because of this message or of another one. So the first delivery needs no record, and from
the second on a small record per message says what happened before:

- `failures`: attempts that ended in an error;
- `crashes`: attempts that were started and never ended, because the worker died;
- `running`: an attempt is in progress. At the next delivery it means one more crash.

A message that has crashed twice runs alone: meanwhile no other redelivered message runs (`Isolation`). That identifies
the message that kills workers; the others simply succeed. No message is given up for crashes before it has crashed
alone.
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
"""Crashes after which a message runs alone."""

_log = logging.getLogger("headway.bus")


@dataclass(frozen=True, slots=True)
class Attempts:
    """The record of one message."""

    failures: int = 0
    crashes: int = 0
    running: bool = False
    delay: float = 0.0
    """Seconds of back-off that began when this was stored; 0 while an attempt runs or the next one is due."""
    alone: bool = False
    """Whether the current attempt, or the last one that crashed, ran alone."""
    blocked: str = ""
    """Where the crashed attempt had blocked the event loop; empty if it had not."""
    cause: str = ""
    """Why the message is given up, once that is decided: it does not run again, its dead letter is not stored yet."""
    reason: str = ""
    digest: str = ""

    @property
    def made(self) -> int:
        """Attempts that did not succeed."""
        return self.failures + self.crashes

    def redelivered(self) -> Attempts:
        """Return the record at a new delivery: an attempt still marked as running has crashed."""
        return replace(self, crashes=self.crashes + 1, running=False) if self.running else self

    def convicted(self, retry: Retry) -> bool:
        """Return whether to give it up: no attempts are left, and if it crashed, it also crashed alone."""
        return retry.exhausted(self.made) and (self.alone or not self.crashes)

    def suspicious(self, retry: Retry) -> bool:
        """Return whether it has to run alone."""
        return self.crashes >= SUSPICIOUS or (self.crashes > 0 and (bool(self.blocked) or retry.exhausted(self.made)))

    def started(self, *, alone: bool = False) -> Attempts:
        """Return the record while an attempt runs."""
        return replace(self, running=True, delay=0.0, alone=alone)

    def blocking(self, where: str) -> Attempts:
        """Return the record of an attempt that blocks the event loop, which explains a later crash."""
        return replace(self, running=True, delay=0.0, blocked=where)

    def failed(self) -> Attempts:
        """Return the record after an attempt that ended in an error."""
        return replace(self, failures=self.failures + 1, running=False, delay=0.0, alone=False, blocked="")

    def waiting(self, delay: float) -> Attempts:
        """Return the record of a message whose next attempt begins after a back-off."""
        return replace(self, delay=delay)

    def sentenced(self, cause: str, reason: str, digest: str) -> Attempts:
        """Return the record of a message that is given up but whose dead letter is not stored yet."""
        return replace(self, running=False, cause=cause, reason=reason, digest=digest)


NONE = Attempts()
_TYPES = {field.name: type(field.default) for field in fields(Attempts)}


class Isolation:
    """Lets messages run together, or one of them alone. Messages that have to run alone take precedence."""

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._waiting = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Run together with others, but not while one runs alone."""
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
        """Run alone: wait for the others to end, and let none start meanwhile."""
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

    Without a record it is unknown how often a message may still run. So a failure to read or write one is raised, and
    the message waits (bus/worker/work.py): no message runs more often than allowed.

    Their subjects contain the service's seal, so that no other service can have JetStream write there.

    Args:
        js: a connection's JetStream context.
        service: the service's name.
        seal: the service's seal, which its workers' tokens contain; "" for workers without one.
    """

    def __init__(self, js: JetStreamContext, service: str, seal: str) -> None:
        self._js = js
        self._own = f"$KV.ATTEMPTS.{service}.{seal or 'unsealed'}"

    async def load(self, stream: str, sequence: int) -> Attempts:
        """Return the record of a message; an empty one if there is none.

        Raises:
            StoreError: if the bucket refuses, or the record cannot be parsed.
            ConnectionFailed: without an answer in time.
        """
        return (await self.stored(stream, sequence))[0]

    async def stored(self, stream: str, sequence: int) -> tuple[Attempts, str]:
        """Return the record of a message, and when it was stored by the server's clock (RFC 3339); raises as `load`."""
        reply = await values.last(self._js, ATTEMPTS, self._subject(stream, sequence))
        said = reply.headers or {}
        if not reply.data or headers.STATUS in said:
            return NONE, ""
        record = _parse(reply.data)
        if record is None:
            raise StoreError(
                f"the record of attempts of {stream} {sequence} cannot be parsed", remedy="purge the record"
            )
        return record, said.get(values.TIME_STAMP, "")

    async def save(self, stream: str, sequence: int, record: Attempts) -> None:
        """Store a record and wait for the acknowledgement.

        Raises:
            QueueFull, StoreError: if the bucket is full, or refuses.
            NotStored: without an acknowledgement in time.
        """
        await values.write(self._js, ATTEMPTS, self._subject(stream, sequence), orjson.dumps(asdict(record)), {}, None)

    async def clear(self, stream: str, sequence: int) -> None:
        """Clear the record of a finished message. A failure is only logged: the record expires after a day."""
        try:
            await values.write(self._js, ATTEMPTS, self._subject(stream, sequence), b"", {}, None)
        except HeadwayError as error:
            _log.warning("the record of attempts of %s %d was not cleared: %s", stream, sequence, error)

    def _subject(self, stream: str, sequence: int) -> str:
        return f"{self._own}.{stream}.{sequence}"


def _parse(data: bytes) -> Attempts | None:
    """Return the record in a value; None if it is none."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    record = {name: value for name, value in found.items() if name in _TYPES}
    return Attempts(**record) if all(type(value) is _TYPES[name] for name, value in record.items()) else None
