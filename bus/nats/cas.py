"""Compare-and-set: read, change, and write if the value is unchanged; otherwise start again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from headway.bus.errors import Conflict

T = TypeVar("T")

TRIES: Final = 8
_PAUSE: Final = 0.02


async def compare_and_set(once: Callable[[], Awaitable[T]], what: str, tries: int = TRIES) -> T:
    """Run `once` until it meets no conflict, with growing, jittered pauses in between.

    Args:
        once: reads, changes and writes a value, expecting the revision it read.
        what: name of the value, for the message.
        tries: maximum number of attempts.

    Raises:
        Conflict: if another writer was first each time.
    """
    for turn in range(tries):
        if turn:
            await asyncio.sleep(random.uniform(0, _PAUSE * 2**turn))
        try:
            return await once()
        except Conflict:
            continue
    raise Conflict(f"{what} was changed by others {tries} times in a row", remedy="try again after a moment")
