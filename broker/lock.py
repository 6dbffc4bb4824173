"""A lock between the processes of one data directory. The operating system releases it when its holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from headway.broker.errors import NotReady

TIMEOUT: Final = 10.0
"""Seconds to wait for the holder."""
_POLL: Final = 0.002


@asynccontextmanager
async def held(path: Path, timeout: float = TIMEOUT) -> AsyncIterator[None]:
    """Hold the lock of a file; create the file if it is missing.

    Raises:
        NotReady: if another process holds it for too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + timeout
        while not _taken(descriptor):
            if time.monotonic() >= until:
                raise NotReady(f"{path} has been locked by another process for {timeout:g} s", remedy="end that one")
            await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
