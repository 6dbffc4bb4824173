"""Cancel tasks reliably."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

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
