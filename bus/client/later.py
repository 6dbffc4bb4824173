"""Jobs for later: `submit(..., delay=, at=)` stores them in the stream `LATER`, from which the scheduler submits them.

NATS can schedule messages itself (ADR-51), but whoever may write into such a stream may also purge, redirect and wipe
the schedules of everybody else in it. See docs/decisions/0038-jobs-for-later.md.
"""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import Final, NamedTuple

from headway.bus.errors import InvalidInput
from headway.bus.wire import headers, subjects

MAX_DELAY: Final = 366 * 86_400.0
"""Maximum seconds until a job is due."""


class LaterJob(NamedTuple):
    """Where a job for later is stored.

    Attributes:
        subject: its subject.
        scope: namespace of its idempotency key: the tenant and the operation of the service, as all share the stream.
        fields: the header that says when it is due.
    """

    subject: str
    scope: tuple[str, str]
    fields: dict[str, str]


def schedule(service: str, tenant: str, operation: str, delay: float | None, at: datetime | None) -> LaterJob:
    """Return where a job for later is stored, and when it is due.

    Args:
        service: name of the service.
        tenant: the tenant to submit for.
        operation: name of the operation.
        delay: seconds from now.
        at: the time, if there is no delay.

    Raises:
        InvalidSubject: if a name breaks the grammar.
        InvalidInput: if the time is.
    """
    due = due_at(delay, at, time.time())
    subject = subjects.later(service, tenant, operation)
    return LaterJob(subject, (tenant, f"{service}.{operation}"), {headers.AT: str(due)})


def due_at(delay: float | None, at: datetime | None, now: float) -> int:
    """Return when a job is due in unix milliseconds, rounded up: it must never run early.

    Args:
        delay: seconds from now.
        at: the time, if there is no delay.
        now: unix seconds.

    Raises:
        InvalidInput: if both or none are given, the delay is negative or no number, the time has no time zone, or it
            is too far away.
    """
    if (delay is None) == (at is None):
        raise InvalidInput("a job for later needs either delay or at", remedy="give one of them")
    if delay is not None:
        if not 0 <= delay <= MAX_DELAY:
            raise InvalidInput(f"delay={delay!r} is not 0 to {MAX_DELAY:.0f} seconds", remedy="give a shorter delay")
        return math.ceil((now + delay) * 1000)
    assert at is not None
    if at.tzinfo is None:
        raise InvalidInput(f"at={at} has no time zone", remedy="give one: datetime(..., tzinfo=UTC)")
    if at.timestamp() > now + MAX_DELAY:
        raise InvalidInput(f"at={at} is more than {MAX_DELAY:.0f} seconds away", remedy="give an earlier time")
    return max(0, math.ceil(at.timestamp() * 1000))
