"""The private attributes of nats-py that Headway uses. Only this module needs a review when nats-py is upgraded.

tests/unit/bus/test_nats_internals.py names the version it was written for and checks each attribute.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.protocol import parser

_ARGUMENT: Final = rb"[^ \t\r\n]+"
"""What nats-server takes for one argument (parser.go). Python's `\\s` also ends one at a vertical tab or form feed."""
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+(%b)[ \t]+(%b)[ \t]+((%b)[ \t]+)?(\d+)\r\n" % ((_ARGUMENT,) * 3))
parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+(%b)[ \t]+(%b)[ \t]+((%b)[ \t]+)?(\d+)[ \t]+(\d+)\r\n" % ((_ARGUMENT,) * 3))
_STATUS: Final = "Status"
_FIRST_LINE: Final = len("NATS/1.0")


class SturdyClient(Client):
    """A connection that no message can break.

    nats-py's reader ends, without closing the connection, at a subject that is not UTF-8 or at certain header blocks.
    Any client may publish such a message, and the server delivers it as it is. nats-py also takes a header that is
    called `Status` for the status of the server, which stands in the first line: here it becomes `status`.
    """

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        if not headers:
            return None
        if headers[_FIRST_LINE : _FIRST_LINE + 1] != b" ":
            return _fields(headers)
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (ValueError, IndexError):
            return None
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        try:
            where, back = subject.decode(), reply.decode()
        except UnicodeDecodeError:
            where, back = subject.decode(errors="replace"), reply.decode(errors="replace")
        return self.msg_class(subject=where, reply=back, data=data, headers=headers, _client=self, _sid=sid)


def _fields(block: bytes) -> dict[str, str] | None:
    """Read a header block without a status, as nats-py does, in half of the time."""
    found: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        words = name.split()
        if not colon or len(words) != 1:
            continue
        try:  # not contextlib.suppress: this runs for each header of each message
            found[words[0].decode("ascii")] = value.strip().decode("utf-8", "replace")
        except UnicodeDecodeError:  # of the name
            continue
    if _STATUS in found:
        found["status"] = found.pop(_STATUS)
    return found or None


def connection(js: JetStreamContext) -> Client:
    """Return the connection of a JetStream context."""
    return js._nc


def server_info(nc: Client) -> dict[str, Any]:
    """Return the INFO that the server sent on connecting."""
    return dict(nc._server_info or {})


def buffered(nc: Client) -> int:
    """Return how many bytes wait to be written."""
    return nc._pending_data_size


def write(nc: Client, data: bytes, messages: int) -> None:
    """Queue protocol lines for the writer and wake it, as `_send_command` and `_flush_pending` of nats-py do.

    Args:
        nc: the connection; while it is interrupted, the lines wait for the reconnect.
        data: complete protocol lines.
        messages: how many messages they are, for the statistics.
    """
    nc.stats["out_msgs"] += messages
    nc.stats["out_bytes"] += len(data)
    nc._pending.append(data)
    nc._pending_data_size += len(data)
    queue = nc._flush_queue
    if nc.is_connected and queue is not None and queue.empty():
        queue.put_nowait(asyncio.get_event_loop().create_future())


def drop_buffered(nc: Client) -> None:
    """Discard what waits to be written."""
    nc._pending, nc._pending_data_size = [], 0


async def send_unsubscribe(nc: Client, subscription: Subscription) -> None:
    """Send UNSUB, while messages of the subscription are still accepted."""
    await nc._send_unsubscribe(subscription._id)


def replace_queue(subscription: Subscription, queue: Any) -> list[Msg] | None:
    """Replace a subscription's queue with another object.

    Args:
        subscription: the subscription.
        queue: receives each message by `put_nowait`.

    Returns:
        the messages that waited in the queue; None if this nats-py has no queue and nothing was replaced.
    """
    waiting = getattr(subscription, "_pending_queue", None)
    if not isinstance(waiting, asyncio.Queue):
        return None
    subscription._pending_queue = cast("asyncio.Queue[Msg]", queue)
    return [waiting.get_nowait() for _ in range(waiting.qsize())]
