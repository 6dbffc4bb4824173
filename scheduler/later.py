"""Submits the jobs for later when they are due, through the routes of that moment.

A job is read from the stream `LATER`, stored in its service's queue under an id made from its sequence, and only then
deleted from `LATER`. If the scheduler dies in between, the next one repeats it: the server knows the id for two minutes
and stores no second copy.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from headway.bus.client import dead
from headway.bus.client.bus import Bus
from headway.bus.client.ids import MessageIds
from headway.bus.errors import (
    ConnectionFailed,
    HeadwayError,
    InvalidInput,
    InvalidSubject,
    NotFound,
    NotStored,
    QueueFull,
)
from headway.bus.nats import jsapi, values
from headway.bus.nats.refusals import asking, is_gone
from headway.bus.nats.streams import LATER
from headway.bus.wire import headers, subjects
from headway.scheduler.due import DueJobs
from headway.scheduler.feed import LaterFeed

WINDOW: Final = 256
"""Jobs that are read and submitted at the same time."""
AHEAD: Final = 0.2
"""Seconds before its time that a job is read, so that it is at hand when it is due."""
TENANT_WINDOW: Final = WINDOW // 4
"""Jobs of one tenant among them, so that a tenant whose queue is full or gone holds up no other."""
GIVE_UP: Final = 3600.0
"""Seconds after its due time that a job which no version accepts becomes a dead letter."""
_TRIES: Final = 20
"""Minimum tries before that: after an outage of the scheduler, the service may still be starting."""
_BACK_OFF: Final = (0.5, 60.0)
"""First and longest wait in seconds before another try."""
_AHEAD_MS: Final = int(AHEAD * 1000)
_STORE_TIMEOUT: Final = 1.0
_READ_TIMEOUT: Final = 5.0
_TELL_EVERY: Final = 10.0
"""Minimum seconds between two warnings about jobs that are late: one cause affects many."""
_LOOK: Final = 1.0
"""Longest wait in seconds: the clock may be set forward."""

_log = logging.getLogger("headway.scheduler")


def job_headers(stored: Mapping[str, str], seq: int, tenant: str, ids: MessageIds) -> dict[str, str]:
    """Return the headers of a due job: a message id that nobody can guess, and the id it had.

    Args:
        stored: the headers as they were stored.
        seq: sequence of the job in `LATER`.
        tenant: its tenant.
        ids: makes its new message id.
    """
    kept, _ = headers.sendable(headers.passed_on(stored))
    known = headers.clean(stored.get(headers.MESSAGE_ID, "")) or f"{LATER}.{seq}"
    return {
        **kept,
        headers.MESSAGE_ID: ids.own(f"later.{seq}"),
        headers.ID: known,
        headers.PROOF: ids.prove(tenant, known, ""),
    }


class LaterJobs:
    """Submits jobs for later while `run` runs.

    Args:
        bus: a connection in the control or operator role.
        leading: returns whether this process may act now.
    """

    def __init__(self, bus: Bus, leading: Callable[[], bool]) -> None:
        self._bus = bus
        self._leading = leading
        self._due = DueJobs()
        self._feed = LaterFeed(bus, self._found, self._restarted)
        self._wake = asyncio.Event()
        self._in_hand: Counter[str] = Counter()
        self._busy: set[str] = set()
        self._tries: Counter[int] = Counter()
        self._told_at = -_TELL_EVERY

    async def run(self) -> None:
        """Submit jobs until cancelled, or until this process may no longer act."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._feed.run())
            while self._leading():
                self._wake.clear()
                self._start_due(group)
                await self._until_next()
            reading.cancel()

    def _start_due(self, group: asyncio.TaskGroup) -> None:
        while self._in_hand.total() < WINDOW and self._leading():
            found = self._due.take(_now() + _AHEAD_MS, self._busy)
            if found is None:
                return
            seq, tenant = found
            self._in_hand[tenant] += 1
            if self._in_hand[tenant] >= TENANT_WINDOW:
                self._busy.add(tenant)
            group.create_task(self._handle(seq, tenant))

    async def _until_next(self) -> None:
        due = self._due.next_due()
        wait = _LOOK
        if due and self._in_hand.total() < WINDOW:
            wait = min(_LOOK, max(0.0, (due - _AHEAD_MS - _now()) / 1000))
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _handle(self, seq: int, tenant: str) -> None:
        try:
            await self._submit(seq, tenant)
            self._tries.pop(seq, None)
        except HeadwayError as error:
            self._again(seq, tenant, error)
        except Exception as error:
            _log.exception("the job for later %d could not be submitted", seq)
            self._again(seq, tenant, error)
        finally:
            self._in_hand[tenant] -= 1
            if not self._in_hand[tenant]:
                del self._in_hand[tenant]
            self._busy.discard(tenant)
            self._wake.set()

    def _again(self, seq: int, tenant: str, error: Exception) -> None:
        tries = self._tries[seq] = self._tries[seq] + 1
        first, longest = _BACK_OFF
        wait = min(longest, first * 2 ** min(tries - 1, 10)) * random.uniform(0.75, 1.25)
        now = time.monotonic()
        level = logging.WARNING if now - self._told_at >= _TELL_EVERY else logging.DEBUG
        if level == logging.WARNING:
            self._told_at = now
        _log.log(
            level,
            "the job for later %d of %s is late, next try in %.1f s: %s",
            seq,
            tenant,
            wait,
            error,
        )
        self._due.add(seq, _now() + int(wait * 1000), tenant)

    async def _submit(self, seq: int, tenant: str) -> None:
        """Store a due job in its queue and delete it from `LATER`, or give it up.

        Raises:
            HeadwayError: if neither was possible now.
        """
        found = await self._read(seq)
        if found is None:
            return  # cancelled, or a former leader was quicker
        subject, payload, stored = found
        try:
            service, _, operation = subjects.parse_later(subject)
        except InvalidSubject as error:
            await self._bury(seq, subject, payload, stored, dead.Cause.INVALID_INPUT, str(error))
            return
        at = headers.at_of(stored) or 0
        await _until(at)
        if not self._leading():
            raise ConnectionFailed("the lease is lost")
        try:
            await self._store(
                subjects.job(service, tenant, operation), payload, job_headers(stored, seq, tenant, self._bus.ids)
            )
        except (QueueFull, NotStored, ConnectionFailed):
            raise
        except InvalidInput as error:
            await self._bury(seq, subject, payload, stored, dead.Cause.INVALID_INPUT, error.message)
            return
        except HeadwayError as error:
            if (_now() - at) / 1000 < GIVE_UP or self._tries[seq] < _TRIES:
                raise
            await self._bury(seq, subject, payload, stored, dead.Cause.NOT_SERVED, error.message)
            return
        await self._delete(seq)

    async def _read(self, seq: int) -> tuple[str, bytes, dict[str, str]] | None:
        """Return the subject, payload and headers of a job; None if it is gone.

        Any replica answers at once. One that is behind may not have the job yet: its absence is for the leader to say.

        Raises:
            HeadwayError: if it cannot be read now.
        """
        async with asking(f"job for later {seq}", _READ_TIMEOUT):
            reply = await self._bus.nc.request(f"{jsapi.PREFIX}DIRECT.GET.{LATER}", b'{"seq":%d}' % seq, _READ_TIMEOUT)
        fields = reply.headers or {}
        if headers.STATUS not in fields:
            return fields[values.SUBJECT], reply.data, fields
        try:
            async with asking(f"job for later {seq}", _READ_TIMEOUT):
                message = await self._bus.js.get_msg(LATER, seq)
        except NotFound:
            return None
        return message.subject or "", message.data or b"", message.headers or {}

    async def _store(self, subject: str, payload: bytes, sent: dict[str, str]) -> None:
        try:
            await self._bus.store(subject, payload, sent, _STORE_TIMEOUT)
        except InvalidInput:  # at the size limit: store it without the additional headers
            del sent[headers.ID], sent[headers.PROOF]
            await self._bus.store(subject, payload, sent, _STORE_TIMEOUT)

    async def _bury(
        self, seq: int, subject: str, payload: bytes, stored: Mapping[str, str], cause: dead.Cause, reason: str
    ) -> None:
        """Store a dead letter for a job that cannot be submitted, and delete the job.

        Raises:
            HeadwayError: if the letter cannot be stored; the job stays.
        """
        _, service, tenant, operation = (*subject.split("."), "", "", "")[:4]
        fields = dead.compose(
            stored,
            cause=cause,
            reason=reason,
            attempts=0,
            error=None,
            subject=subject,
            stream=LATER,
            sequence=seq,
            at=datetime.now(UTC),
        )
        await dead.bury(self._bus, subjects.fit(service), tenant, operation, payload, fields, _READ_TIMEOUT)
        _log.warning("the job for later %d of %s was given up: %s", seq, tenant, reason)
        await self._delete(seq)

    async def _delete(self, seq: int) -> None:
        try:
            await jsapi.request(self._bus.nc, f"STREAM.MSG.DELETE.{LATER}", {"seq": seq, "no_erase": True})
        except HeadwayError as error:
            if not is_gone(error):
                raise

    def _found(self, seq: int, subject: str, due: int) -> None:
        _, _, tenant, _ = (*subject.split("."), "", "", "", "")[:4]
        before = self._due.next_due()
        self._due.add(seq, due, tenant)
        if before is None or due < before:
            self._wake.set()

    def _restarted(self) -> None:
        self._due = DueJobs()
        self._tries.clear()


async def _until(at: int) -> None:
    """Wait until a time in unix milliseconds, also if the clock is set meanwhile."""
    while (left := at - _now()) > 0:  # noqa: ASYNC110  # the clock has no event
        await asyncio.sleep(min(left / 1000, _LOOK))


def _now() -> int:
    return int(time.time() * 1000)
