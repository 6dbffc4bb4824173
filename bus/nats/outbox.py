"""An outbox that writes acknowledgements and replies once per turn of the event loop.

`publish` of nats-py checks, formats and queues each message separately and wakes its writer. A worker answers dozens of
messages in one turn; the outbox joins their lines and wakes the writer once. It sends only to reply subjects, which
come from the server, so it need not check them.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from headway.bus.nats import internals

_SMALL = 1 << 16
"""Payloads with more bytes are sent by `publish`."""
_PENDING = 1 << 20
"""With more bytes waiting to be written, everything is sent by `publish`, which waits until the peer has read."""


class Outbox:
    """Batches the answers on one connection.

    Args:
        nc: the connection.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._lines: list[bytes] = []

    def offer(self, reply: str, payload: bytes) -> bool:
        """Queue an answer, to be written at the end of this turn of the loop.

        Returns:
            False if nothing was queued and the caller has to use `publish`.
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
