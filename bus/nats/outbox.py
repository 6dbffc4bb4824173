"""Answers written once per turn of the event loop: acknowledgements and replies, which are many and small.

`publish` of nats-py checks, formats and queues each message by itself and wakes its writer. A worker answers dozens of
messages in one turn; here their lines are joined, and the writer is woken once. Only subjects that came from the server
itself (reply subjects) are sent this way, so there is nothing to check in them.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from headway.bus.nats import internals

_SMALL = 1 << 16
"""Bytes beyond which a payload takes the ordinary way."""
_PENDING = 1 << 20
"""Bytes waiting to be written beyond which everything does: `publish` then waits until the peer has read."""


class Outbox:
    """Sends on one connection.

    Args:
        nc: the connection.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._lines: list[bytes] = []

    def offer(self, reply: str, payload: bytes) -> bool:
        """Answer; the write follows at the end of this turn of the loop.

        Returns:
            False if nothing was done, and it has to take the ordinary way: `publish`.
        """
        nc = self._nc
        size = len(payload)
        if size > _SMALL or not nc.is_connected or internals.buffered(nc) > _PENDING or not reply:
            return False
        if not self._lines:
            asyncio.get_event_loop().call_soon(self._write)
        self._lines.append(b"PUB %b %d\r\n%b\r\n" % (reply.encode(), size, payload))
        return True

    def _write(self) -> None:
        data, count = b"".join(self._lines), len(self._lines)
        self._lines.clear()
        internals.write(self._nc, data, count)
