"""Terminal output of long-running commands: writing never blocks, even without a reader.

A stopped terminal (Ctrl-S) or an unread pipe blocks the writer. The event loop that supervises the server and workers
must not block. So a separate thread writes; lines that do not fit into its queue are dropped, counted and reported.
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
"""Most lines in the queue; further ones are dropped."""
_LAST: Final = 2.0
"""Seconds that the process waits at its end for unwritten lines."""


class Output:
    """Writes to file descriptors from a separate thread.

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
        """Queue a text for a descriptor; return at once."""
        with self._changed:
            if len(self._lines) >= self._most:
                self._dropped += 1
                return
            if self._dropped:
                missing = f"... {self._dropped} lines are missing here: the output was not read\n"
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
            with contextlib.suppress(OSError):  # its reader has gone
                while data:
                    data = data[os.write(descriptor, data) :]


_output: Final = Output()


def echo(text: str, *, err: bool = False) -> None:
    """Print a line without ever waiting for its reader."""
    stream = sys.stderr if err else sys.stdout
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, io.UnsupportedOperation):  # not a real file: a test's buffer
        click.echo(text, err=err)
        return
    _output.put(descriptor, f"{text}\n")


class OutputStream(io.TextIOBase):
    """A text stream, as for a log handler, whose lines are written by `echo`'s thread."""

    def write(self, text: str) -> int:
        """Queue a text for standard error."""
        _output.put(sys.stderr.fileno(), text)
        return len(text)
