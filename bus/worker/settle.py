"""Answering for messages: acknowledged, handed back, recorded, given up as dead letters.

Nothing is run more often than its policy allows. So what happened to a message is recorded before it is handed back,
and a message that is given up is not run again while its dead letter cannot be stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Final

from headway.bus.client import dead
from headway.bus.context import WorkerScope
from headway.bus.errors import HeadwayError
from headway.bus.nats.delivery import nak, term
from headway.bus.nats.refusals import translating
from headway.bus.wire import headers
from headway.bus.wire.beat import Counters
from headway.bus.worker.attempt import Attempt
from headway.bus.worker.attempts import Attempts, AttemptsLog

STORE_RETRY: Final = 5.0
"""Seconds after which a record or dead letter that could not be stored, or read, is tried again."""
_STORE_TIMEOUT = 5.0
_ALARM = 10.0
"""Seconds between two lines about the same trouble."""

_COUNTED: Final = frozenset({dead.Cause.ERROR, dead.Cause.WORKER_LOST, dead.Cause.BLOCKED})
"""Causes that are decided after an attempt was counted; the others end one."""

_log = logging.getLogger("headway.bus")


class Settlement:
    """Answers for the messages of one worker.

    Args:
        scope: what its handlers share.
        counters: where to count.
    """

    def __init__(self, scope: WorkerScope, counters: Counters) -> None:
        self._scope = scope
        self._service = scope.service
        self._counters = counters
        self._nc = scope.bus.nc
        self._outbox = scope.bus.outbox
        self._telemetry = scope.bus.telemetry
        if self._telemetry is not None:  # a counter that begins at one does not show its first rise
            for cause in dead.Cause:
                self._telemetry.buried(scope.service, scope.version, cause.value, 0)
        self.attempts = AttemptsLog(scope.bus.js, scope.service)
        self._alarm_at = -_ALARM

    async def answer(self, attempt: Attempt, word: bytes) -> None:
        """Send the server a word about a message."""
        try:
            if not self._outbox.offer(attempt.reply, word):
                with translating("an answer"):
                    await self._nc.publish(attempt.reply, word)
        except HeadwayError as error:
            # The server has not heard of it and will deliver again: at least once.
            _log.warning("%s %d is not answered: %s", attempt.delivery.stream, attempt.delivery.sequence, error)

    async def retry(self, attempt: Attempt, delay: float) -> None:
        """Hand a message back, to be delivered again after `delay` seconds."""
        self._counters.waiting.add(delay, time.monotonic())
        await self.answer(attempt, nak(delay))

    async def wait(self, attempt: Attempt, why: str, error: HeadwayError) -> None:
        """Hand a message back unstarted, since what has to be known or recorded cannot be."""
        self._alarm(attempt, f"it waits: {why}", error)
        await self.answer(attempt, nak(STORE_RETRY))

    async def clear(self, attempt: Attempt) -> None:
        """Forget the record of a message that is done, if there can be one."""
        if attempt.delivery.delivered > 1 or attempt.noted:
            await self.attempts.clear(attempt.delivery.stream, attempt.delivery.sequence)

    async def note(self, attempt: Attempt, record: Attempts) -> bool:
        """Record what happened to a message; False if it cannot be recorded."""
        try:
            await self.attempts.save(attempt.delivery.stream, attempt.delivery.sequence, record)
        except HeadwayError as error:
            self._alarm(attempt, "it stays in hand: its attempts cannot be recorded", error)
            return False
        attempt.noted = True
        return True

    async def give_up(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str = "") -> None:
        """Store the dead letter, and only then take the message off its queue.

        A message that has run is not run again while its letter cannot be stored: that it is given up is recorded, or
        it stays in hand.
        """
        while not await self._bury(attempt, cause, reason, digest):
            has_run = cause in (dead.Cause.ERROR, dead.Cause.REJECTED)
            if not has_run or await self.note(attempt, attempt.record.sentenced(cause.value, reason, digest)):
                await self.answer(attempt, nak(STORE_RETRY))
                return
            if attempt.returned:
                return  # its worker ends; the server delivers it again after the ack wait
            await asyncio.sleep(STORE_RETRY)
        self._counters.dead += 1
        if self._telemetry is not None:
            self._telemetry.buried(self._service, self._scope.version, cause.value)
        await self.answer(attempt, term(f"{cause.value}: {headers.clean(reason)}"))
        await self.clear(attempt)

    async def _bury(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str) -> bool:
        """Store a dead letter; False if it cannot be stored now."""
        delivery, made = attempt.delivery, attempt.record.made
        fields = dead.compose(
            attempt.message.headers,
            cause=cause,
            reason=reason,
            attempts=made if cause in _COUNTED else made + 1,
            error=digest,
            subject=attempt.message.subject,
            stream=delivery.stream,
            sequence=delivery.sequence,
            at=datetime.now(UTC),
        )
        where = (self._service, attempt.tenant, attempt.operation)
        try:
            await dead.bury(self._scope.bus, *where, attempt.message.data, fields, _STORE_TIMEOUT)
        except HeadwayError as error:
            self._alarm(attempt, "it stays queued: its dead letter is not stored", error)
            return False
        return True

    def _alarm(self, attempt: Attempt, what: str, error: HeadwayError) -> None:
        """Say that JetStream does not take what has to be stored: once in a while, since it concerns many messages."""
        self._counters.unstored += 1
        now = time.monotonic()
        level = logging.ERROR if now - self._alarm_at >= _ALARM else logging.DEBUG
        if level == logging.ERROR:
            self._alarm_at = now
        _log.log(level, "%s %d: %s: %s", attempt.delivery.stream, attempt.delivery.sequence, what, error)
