"""A lifeline: when the process that holds it is gone, however it went, those that it started drain and leave.

It is a pair of sockets. The far end is inherited by the scaler, its zygotes and their workers; the zygotes watch it.
Our end closes with us, even under SIGKILL. And when our end reads its end, the last of the others is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from headway.scaler.drivers.process.zygote import LIFELINE

_CUT: Final = 1


class Lifeline:
    """Our end, and the far one until it is given away."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    @property
    def descriptor(self) -> int:
        """The far end, to be passed to children."""
        return self._theirs.fileno()

    def environment(self) -> dict[str, str]:
        """What tells children of it."""
        return {LIFELINE: str(self.descriptor)}

    def cut(self) -> None:
        """Let everybody drain and leave."""
        self._theirs.close()
        with contextlib.suppress(OSError):
            self._ours.shutdown(_CUT)

    async def gone(self) -> None:
        """Wait until nobody holds the far end. Only after `cut()`."""
        await asyncio.get_running_loop().sock_recv(self._ours, 1)

    def close(self) -> None:
        """Close both ends."""
        self._theirs.close()
        self._ours.close()
