"""Cancel tasks reliably, and raise the errors of task groups plainly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from headway.bus.errors import HeadwayError

_AGAIN: Final = 0.5
"""Seconds after which a task that is still running is cancelled again."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all of them have ended; their results and exceptions are ignored.

    One cancellation is not always enough: on Python 3.11 `asyncio.wait_for`, which nats-py uses to wait for each
    answer, loses a cancellation that arrives in the same turn of the loop as the answer.
    """
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=_AGAIN)


@asynccontextmanager
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks as `asyncio.TaskGroup` does, but raise an error itself instead of a group of errors.

    Callers that handle errors by class would miss one inside an `ExceptionGroup`, a `TimeoutError` for example. Of
    several errors the first `HeadwayError` is raised, or else the first one; the group is its cause.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as several:
        errors = [*leaves(several)]
        first = next((error for error in errors if isinstance(error, HeadwayError)), errors[0])
        raise first from (first.__cause__ if len(errors) == 1 else several)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in an exception group, at any depth; another error is yielded itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
