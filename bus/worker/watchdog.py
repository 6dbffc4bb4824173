"""Notices, from a thread, that a handler blocks the event loop, and writes down where.

A blocked loop sends no heartbeat and keeps no work alive, so the worker is soon killed. Without a trace of it, the job
would look like any other that was in that worker's hand. The thread therefore stores in the job's record of attempts
where the loop stands, over a connection of its own: whoever gets the job next runs it alone, and its dead letter names
file and line.

A handler that holds Python's global lock all the while (a C extension) stops this thread, too, and is not seen.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, Final

BLOCKED_AFTER: Final = 2.0
"""Seconds without a turn of the loop after which a handler blocks it; a silent worker is killed after five."""
_LOOK: Final = 0.25
_DEPTH: Final = 6
"""Frames that are told, the innermost first."""

_HERE: Final = Path(__file__).parent
_log = logging.getLogger("headway.bus")


class Watchdog:
    """Watches the running loop.

    Args:
        note: called in the thread with the task that blocks and where; returns what to run in a loop of the thread's
            own, or None if the task is nobody's.
    """

    def __init__(self, note: Callable[[asyncio.Task[Any], str], Coroutine[Any, Any, None] | None]) -> None:
        self._note = note
        self._turn = time.monotonic()
        self._stop = threading.Event()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch from now on, the loop that runs in this thread."""
        self.turn()
        args = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._watch, args=args, name="headway-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        self._awake.set()

    def turn(self) -> None:
        """Say that the loop goes round; to be called several times a second, until `rest()`."""
        self._turn = time.monotonic()
        if not self._awake.is_set():
            self._awake.set()

    def rest(self) -> None:
        """Watch nothing until the next `turn()`: no handler runs."""
        self._awake.clear()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        told = 0.0
        looked = time.monotonic()
        while not self._stop.wait(_LOOK):
            if not self._awake.is_set():
                self._awake.wait()
                looked = time.monotonic()
                continue
            now, before = time.monotonic(), looked
            looked = now
            turn = self._turn
            if now - before > _LOOK + 1 or now - turn < BLOCKED_AFTER or turn == told:
                continue  # this process stood still as a whole, or the loop goes round, or it is told already
            told = turn
            task, frame = asyncio.current_task(loop), sys._current_frames().get(thread)  # noqa: SLF001  # as documented
            if task is None or frame is None:
                continue  # the loop waits for its machine, not for a handler
            try:
                self._tell(task, place(frame))
            except Exception:
                _log.exception("what blocks the event loop could not be recorded")

    def _tell(self, task: asyncio.Task[Any], where: str) -> None:
        _log.error("a handler has blocked the event loop for %g s at %s", BLOCKED_AFTER, where)
        work = self._note(task, where)
        if work is not None:
            asyncio.run(work)


def place(frame: FrameType) -> str:
    """Return where a frame stands, `file:line in function`, and what called it, innermost first.

    Args:
        frame: the innermost one; those of the worker and what is below it are left out.
    """
    found: list[str] = []
    for at, line in traceback.walk_stack(frame):
        path = Path(at.f_code.co_filename)
        if path.resolve().parent == _HERE:
            break
        found.append(f"{path.name}:{line} in {at.f_code.co_name}")
    return " < ".join(found[:_DEPTH]) or "an unknown place"
