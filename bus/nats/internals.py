"""The private attributes of nats-py that Headway uses. Only this module needs a review when nats-py is upgraded.

tests/unit/bus/test_nats_internals.py names the version it was written for and checks each attribute.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext


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
