"""Detect from a thread that a handler blocks the event loop, and record where.

A blocked loop sends no heartbeats and renews no work, so the worker is soon killed. Without a record, the blocking job
could not be distinguished from the worker's other jobs. The thread therefore stores the position of the loop in the
job's record of attempts, over a connection of its own: the next worker runs the job alone, and its dead letter names
file and line.

A handler that holds Python's global lock all the time (in a C extension) also stops this thread, and is not detected.
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
"""Seconds without a turn of the loop after which it counts as blocked; a silent worker is killed after five."""
_LOOK: Final = 0.25
_DEPTH: Final = 6
"""Maximum number of reported frames, innermost first."""

_HERE: Final = Path(__file__).parent
_log = logging.getLogger("headway.bus")


class Watchdog:
    """Watches the running loop.

    Args:
        note: called in the thread with the blocking task and its position; returns a coroutine to run in a loop of
            the thread's own, or None if the task belongs to no message.
    """

    def __init__(self, note: Callable[[asyncio.Task[Any], str], Coroutine[Any, Any, None] | None]) -> None:
        self._note = note
        self._turn = time.monotonic()
        self._stop = threading.Event()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start watching the loop that runs in this thread."""
        self.turn()
        args = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._watch, args=args, name="headway-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._awake.set()

    def turn(self) -> None:
        """Record a turn of the loop. Call it several times a second, until `rest()`."""
        self._turn = time.monotonic()
        if not self._awake.is_set():
            self._awake.set()

    def rest(self) -> None:
        """Pause watching until the next `turn()`, because no handler runs."""
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
                continue  # the whole process was suspended, or the loop is not blocked, or this is already reported
            told = turn
            task, frame = asyncio.current_task(loop), sys._current_frames().get(thread)  # noqa: SLF001  # as documented
            if task is None or frame is None:
                continue  # no handler is running
            try:
                self._tell(task, place(frame))
            except Exception:
                _log.exception("the blocking of the event loop could not be recorded")

    def _tell(self, task: asyncio.Task[Any], where: str) -> None:
        _log.error("a handler has blocked the event loop for %g s at %s", BLOCKED_AFTER, where)
        work = self._note(task, where)
        if work is not None:
            asyncio.run(work)


def place(frame: FrameType) -> str:
    """Return the position of a frame, `file:line in function`, and of its callers, innermost first.

    Args:
        frame: the innermost frame; those of the worker and its callers are left out.
    """
    found: list[str] = []
    for at, line in traceback.walk_stack(frame):
        path = Path(at.f_code.co_filename)
        if path.resolve().parent == _HERE:
            break
        found.append(f"{path.name}:{line} in {at.f_code.co_name}")
    return " < ".join(found[:_DEPTH]) or "an unknown place"
