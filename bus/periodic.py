"""Declares periodic jobs: `@service.cron(...)`, `@service.every(...)`.

A periodic job is an ordinary job of the reserved tenant `headway`. Workers announce when it runs, and the scheduler
submits it. No publisher can use that tenant but Headway's own processes, and the handler refuses every other.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headway.bus.errors import DeclarationError, InvalidInput, Reject
from headway.bus.handlers import Handler
from headway.bus.wire.codec import encode
from headway.bus.wire.periodic import PeriodicJob, Tick
from headway.bus.wire.subjects import CONSOLE, token

if TYPE_CHECKING:
    from headway.bus.context import Context

SHORTEST: Final = 1.0
"""Minimum seconds between two runs."""
_FIELDS: Final = 5
MOST: Final = 100
"""Most periodic jobs of one service."""


def check(job: PeriodicJob) -> PeriodicJob:
    """Check a declaration and return it.

    The cron expression is checked only where `cronsim` is installed, as in the control plane: workers do not need it.

    Raises:
        InvalidSubject: if its name breaks the grammar.
        DeclarationError: if its time, time zone or policy is invalid.
    """
    token(job.name, "operation")
    what = f"periodic job {job.name!r}"
    if not job.cron and not SHORTEST <= job.every <= 366 * 86_400:
        raise DeclarationError(f"{what}: every={job.every}", remedy="give 1 second to 366 days")
    try:
        ZoneInfo(job.tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DeclarationError(f"{what}: there is no time zone {job.tz!r}", remedy="write Europe/Berlin") from None
    if job.cron and importlib.util.find_spec("cronsim") is not None and not _fires(job.cron):
        remedy = "write five cron fields, such as 0 3 * * mon-fri"
        raise DeclarationError(f"{what}: {job.cron!r} never fires", remedy=remedy)
    return job


def _fires(expression: str) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        return len(expression.split()) == _FIELDS and next(CronSim(expression, datetime(2024, 1, 1))) is not None  # noqa: DTZ001
    except (CronSimError, StopIteration):
        return False


def guarded(handler: Handler) -> Handler:
    """Return the handler of a periodic job, which refuses jobs of any tenant but `headway`.

    Raises:
        DeclarationError: if its request is not a `Tick`.
    """
    try:
        handler.input.decode(encode(Tick(at=datetime(2024, 1, 1, tzinfo=UTC))))
    except InvalidInput:
        remedy = "declare it as (tick: Tick) or (tick: Tick, ctx)"
        raise DeclarationError(f"periodic job {handler.name!r} takes no Tick", remedy=remedy) from None
    function, passes = handler.function, handler.takes_context

    def arguments(tick: Any, ctx: Context) -> tuple[Any, ...]:
        if ctx.tenant != CONSOLE:
            raise Reject(f"{handler.name} is a periodic job, which only the scheduler submits")
        return (tick, ctx) if passes else (tick,)

    if handler.is_async:

        @functools.wraps(function)
        async def run(tick: Any, ctx: Context) -> Any:
            return await function(*arguments(tick, ctx))

        return replace(handler, function=run, takes_context=True)

    @functools.wraps(function)
    def run_in_thread(tick: Any, ctx: Context) -> Any:
        return function(*arguments(tick, ctx))

    return replace(handler, function=run_in_thread, takes_context=True)
