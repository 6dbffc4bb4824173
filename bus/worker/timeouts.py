"""The timeouts of all calls and messages of a worker, on one timer of the event loop.

Hardly any message reaches its timeout, so a timer per message would almost always be cancelled; on uvloop that costs as
much as the message's task. Here one timer is set for the earliest due time. It stays set when its message finishes;
when it fires, it checks all items and is set for the next due time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from typing import Any, ClassVar, Final

NEVER: Final = math.inf
_TICK = 0.001
"""Seconds by which the event loop may wake up early: its clock has a resolution of milliseconds."""


class Timed:
    """A call or message with a time limit.

    Attributes:
        due: when it is cancelled (monotonic seconds); `NEVER` while it has no limit.
        timed_out: whether it was cancelled for that.
        task: the task to cancel.
        thread: the thread that its handler runs in, if any.
        returned: whether it was handed back.
        waits: whether its task waits for the thread to end after a timeout.
    """

    __slots__ = ("due", "returned", "task", "thread", "timed_out")

    waits: ClassVar[bool] = False

    def __init__(self) -> None:
        self.due = NEVER
        self.timed_out = False
        self.returned = False
        self.task: asyncio.Task[None] | None = None
        self.thread: asyncio.Future[Any] | None = None


class Timeouts:
    """Cancels overdue items.

    Args:
        in_hand: the live collection of all items.
    """

    def __init__(self, in_hand: Collection[Timed]) -> None:
        self._in_hand = in_hand
        self._armed = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, item: Timed, due: float) -> None:
        """Cancel an item's task at `due` (monotonic seconds), unless its `due` is set back to `NEVER` before."""
        item.due = due
        if due < self._armed:
            self._arm(due)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer, self._armed = None, NEVER
        now = time.monotonic() + _TICK
        for item in list(self._in_hand):
            if item.due <= now:
                item.due = NEVER
                item.timed_out = True
                if item.task is not None:
                    item.task.cancel()
        following = min((item.due for item in self._in_hand), default=NEVER)
        if following < NEVER:
            self._arm(following)
