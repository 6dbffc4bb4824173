"""Settle messages: acknowledge them, hand them back, record their attempts, or give them up as dead letters.

No message runs more often than its policy allows. So an attempt is recorded before its message is handed back, and a
message that is given up does not run again while its dead letter cannot be stored.
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
"""Seconds before the next attempt to store or read a record or dead letter."""
_STORE_TIMEOUT = 5.0
_ALARM = 10.0
"""Minimum seconds between two error logs about the same problem."""

_COUNTED: Final = frozenset({dead.Cause.ERROR, dead.Cause.WORKER_LOST, dead.Cause.BLOCKED})
"""Causes that are decided after the last attempt was counted; with other causes it is not counted yet."""

_log = logging.getLogger("headway.bus")


class Settlement:
    """Settles the messages of one worker.

    Args:
        scope: state that its handlers share.
        counters: the worker's counters.
    """

    def __init__(self, scope: WorkerScope, counters: Counters) -> None:
        self._scope = scope
        self._service = scope.service
        self._counters = counters
        self._nc = scope.bus.nc
        self._outbox = scope.bus.outbox
        self._telemetry = scope.bus.telemetry
        if self._telemetry is not None:  # start at 0: a counter that starts at 1 does not show its first increase
            for cause in dead.Cause:
                self._telemetry.buried(scope.service, scope.version, cause.value, 0)
        self.attempts = AttemptsLog(scope.bus.js, scope.service, scope.bus.seal)
        self._alarm_at = -_ALARM

    async def answer(self, attempt: Attempt, word: bytes) -> None:
        """Send an acknowledgement of any kind for a message."""
        try:
            if not self._outbox.offer(attempt.reply, word):
                with translating("an answer"):
                    await self._nc.publish(attempt.reply, word)
        except HeadwayError as error:
            # The server did not receive it and will redeliver: at least once.
            _log.warning("%s %d was not answered: %s", attempt.delivery.stream, attempt.delivery.sequence, error)

    async def retry(self, attempt: Attempt, delay: float) -> None:
        """Hand a message back, to be delivered again after `delay` seconds."""
        self._counters.waiting.add(delay, time.monotonic())
        await self.answer(attempt, nak(delay))

    async def wait(self, attempt: Attempt, why: str, error: HeadwayError) -> None:
        """Hand a message back unstarted because its record cannot be read or written."""
        self._alarm(attempt, f"it waits: {why}", error)
        await self.answer(attempt, nak(STORE_RETRY))

    async def clear(self, attempt: Attempt) -> None:
        """Clear the record of a finished message, if it may have one."""
        if attempt.delivery.delivered > 1 or attempt.noted:
            await self.attempts.clear(attempt.delivery.stream, attempt.delivery.sequence)

    async def note(self, attempt: Attempt, record: Attempts) -> bool:
        """Store the record of a message; return False if that fails."""
        try:
            await self.attempts.save(attempt.delivery.stream, attempt.delivery.sequence, record)
        except HeadwayError as error:
            self._alarm(attempt, "the worker keeps it: its attempts cannot be recorded", error)
            return False
        attempt.noted = True
        return True

    async def give_up(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str = "") -> None:
        """Store the dead letter, and only then remove the message from its queue.

        A message that has run does not run again while its letter cannot be stored: the decision to give it up is
        recorded, or the worker keeps the message.
        """
        while not await self._bury(attempt, cause, reason, digest):
            has_run = cause in (dead.Cause.ERROR, dead.Cause.REJECTED)
            if not has_run or await self.note(attempt, attempt.record.sentenced(cause.value, reason, digest)):
                await self.answer(attempt, nak(STORE_RETRY))
                return
            if attempt.returned:
                return  # the worker is stopping; the server redelivers after the ack wait
            await asyncio.sleep(STORE_RETRY)
        self._counters.dead += 1
        if self._telemetry is not None:
            self._telemetry.buried(self._service, self._scope.version, cause.value)
        await self.answer(attempt, term(f"{cause.value}: {headers.clean(reason)}"))
        await self.clear(attempt)

    async def _bury(self, attempt: Attempt, cause: dead.Cause, reason: str, digest: str) -> bool:
        """Store a dead letter; return False if that fails."""
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
        known = getattr(attempt, "handler", None) is not None
        where = (self._service, attempt.tenant, attempt.operation if known else dead.UNFILED)
        try:
            await dead.bury(self._scope.bus, *where, attempt.message.data, fields, _STORE_TIMEOUT)
        except HeadwayError as error:
            self._alarm(attempt, "it stays queued: its dead letter cannot be stored", error)
            return False
        return True

    def _alarm(self, attempt: Attempt, what: str, error: HeadwayError) -> None:
        """Log a failure of JetStream, as an error only once per `_ALARM` seconds: it affects many messages."""
        self._counters.unstored += 1
        now = time.monotonic()
        level = logging.ERROR if now - self._alarm_at >= _ALARM else logging.DEBUG
        if level == logging.ERROR:
            self._alarm_at = now
        _log.log(level, "%s %d: %s: %s", attempt.delivery.stream, attempt.delivery.sequence, what, error)
