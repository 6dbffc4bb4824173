"""A lifeline: when the process that holds it ends for any reason, the processes that it started drain and end.

It is a pair of sockets. The scaler, its zygotes and their workers inherit the far end; the zygotes watch it. The near
end closes when its process ends, even by SIGKILL. When the near end reads end-of-file, the last of the other
processes is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from headway.scaler.drivers.process.zygote import LIFELINE

_CUT: Final = 1


class Lifeline:
    """Both ends of a lifeline; the far one until children have inherited it."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    @property
    def descriptor(self) -> int:
        """Return the descriptor of the far end, for children to inherit."""
        return self._theirs.fileno()

    def environment(self) -> dict[str, str]:
        """Return the environment variable that tells children about the far end."""
        return {LIFELINE: str(self.descriptor)}

    def cut(self) -> None:
        """Make all processes that hold the far end drain and end."""
        self._theirs.close()
        with contextlib.suppress(OSError):
            self._ours.shutdown(_CUT)

    async def gone(self) -> None:
        """Wait until no process holds the far end. Only after `cut()`."""
        await asyncio.get_running_loop().sock_recv(self._ours, 1)

    def close(self) -> None:
        """Close both ends."""
        self._theirs.close()
        self._ours.close()
