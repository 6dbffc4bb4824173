"""Follows the logs of the workers of a run directory, line by line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from headway.scaler.drivers.process import rundir

_LOOK: Final = (0.1, 0.4)
"""Seconds between two checks: while there is output, and at most while there is none."""
_CHUNK: Final = 1 << 20

Say = Callable[[str, str], None]
"""Called with a label and a line of output."""


@dataclass(slots=True)
class _Log:
    """A log that is being read. It is held open, so that its last lines can be read after it was removed."""

    label: str
    file: BinaryIO
    rest: bytes = b""


class Follower:
    """Follows the logs of all workers.

    Args:
        run: the run directory.
        say: receives their lines; of workers that already run, only new ones.
    """

    def __init__(self, run: Path, say: Say) -> None:
        self._run = run.absolute()
        self._say = say
        self._logs: dict[str, _Log] = {}
        self._open(at_end=True)

    async def follow(self) -> None:
        """Follow until cancelled; output written before that is still passed on."""
        soonest, latest = _LOOK
        pause = soonest
        try:
            while True:
                pause = soonest if self._look() else min(latest, 1.5 * pause)
                await asyncio.sleep(pause)
        finally:
            self._look()
            for log in self._logs.values():
                log.file.close()
            self._logs.clear()

    def _look(self) -> bool:
        """Pass on what was written since the last check; return whether there was anything."""
        known, found = self._open(at_end=False), False
        for worker, log in list(self._logs.items()):
            found = self._read(log) or found
            if worker not in known:
                log.file.close()
                del self._logs[worker]
        return found

    def _open(self, *, at_end: bool) -> set[str]:
        known = set()
        for one in rundir.workers(self._run):
            known.add(one.worker)
            if one.worker not in self._logs:
                with contextlib.suppress(OSError):
                    file = (self._run / f"{one.worker}.log").open("rb")
                    file.seek(0, 2 if at_end else 0)
                    self._logs[one.worker] = _Log(f"{one.service}-{one.version}", file)
        return known

    def _read(self, log: _Log) -> bool:
        """Pass on the new lines of a log; return whether there were any."""
        found = False
        position = log.file.tell()
        if log.file.seek(0, 2) >= position:  # truncated in between: read from the start
            log.file.seek(position)
        else:
            log.file.seek(0)
        while data := log.file.read(_CHUNK):
            *lines, log.rest = (log.rest + data).split(b"\n")
            found = True
            for line in lines:
                self._say(log.label, line.decode(errors="replace"))
        return found
