"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN: Final = 0.5
"""Seconds after which a task that goes on is cancelled once more."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, whatever they ended with.

    Once is not always enough: on Python 3.11 `asyncio.wait_for`, by which nats-py waits for each answer, loses a
    cancellation that comes in the same turn of the loop as the answer.
    """
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=_AGAIN)
