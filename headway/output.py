"""Terminal output of what runs for long: writing never blocks, whether or not anybody reads it.

A terminal that is stopped (Ctrl-S), or a pipe that nobody reads, blocks whoever writes to it. The event loop that
supervises the server and workers must not stand still for that. So a thread of its own writes, and what does not fit
into its queue is dropped, counted and told.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
import threading
import time
from collections import deque
from typing import Final

import click

LINES: Final = 10_000
"""Lines that wait to be written; further ones are dropped."""
_LAST: Final = 2.0
"""Seconds that the end of the process waits for what is not written yet."""


class Output:
    """Writes to file descriptors from a thread of its own.

    Args:
        most: lines that may wait.
    """

    def __init__(self, most: int = LINES) -> None:
        self._most = most
        self._lines: deque[tuple[int, bytes]] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._writing = False
        self._thread: threading.Thread | None = None

    def put(self, descriptor: int, text: str) -> None:
        """Have a text written to a descriptor; returns at once."""
        with self._changed:
            if len(self._lines) >= self._most:
                self._dropped += 1
                return
            if self._dropped:
                missing = f"... {self._dropped} lines are missing here: nobody read the output\n"
                self._lines.append((descriptor, missing.encode()))
                self._dropped = 0
            self._lines.append((descriptor, text.encode(errors="replace")))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headway-output", daemon=True)
                self._thread.start()
                atexit.register(self.flush, _LAST)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written.

        Args:
            timeout: seconds after which it gives up; returns False then.
        """
        until = time.monotonic() + timeout
        with self._changed:
            while self._lines or self._writing:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._lines:
                    self._changed.wait()
                descriptor, data = self._lines.popleft()
                self._writing = True
            with contextlib.suppress(OSError):  # its reader is gone: there is nobody to tell
                while data:
                    data = data[os.write(descriptor, data) :]


_output: Final = Output()


def echo(text: str, *, err: bool = False) -> None:
    """Print a line without ever waiting for whoever reads it."""
    stream = sys.stderr if err else sys.stdout
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, io.UnsupportedOperation):  # not a file: a test's buffer
        click.echo(text, err=err)
        return
    _output.put(descriptor, f"{text}\n")


class Stream(io.TextIOBase):
    """A text stream, such as a log handler writes to, whose lines go out by `echo`'s thread."""

    def write(self, text: str) -> int:
        """Have a text written to standard error."""
        _output.put(sys.stderr.fileno(), text)
        return len(text)
