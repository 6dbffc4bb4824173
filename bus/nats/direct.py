"""Subscriptions that pass each message to a function as it is parsed, without a queue and a task in between.

nats-py puts each message into the subscription's queue; a task takes it from there and awaits the callback. Headway's
callbacks never wait: they only start a task per message, so the queue would cost about a tenth of the time per message
without benefit. This module replaces the queue with an object whose `put_nowait` is the handler. If a later nats-py has
no such queue, messages take the ordinary path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.nats import internals

Handle = Callable[[Msg], None]

_log = logging.getLogger("headway.bus")


async def subscribe(nc: Client, subject: str, handle: Handle, *, queue: str = "") -> Subscription:
    """Subscribe with a plain function.

    Args:
        nc: the connection.
        subject: the subject, possibly with wildcards.
        handle: called with each message; must not block. Exceptions that it raises are logged.
        queue: queue group; empty for none.
    """

    async def ordinary(message: Msg) -> None:
        direct.put_nowait(message)

    direct = _Direct(handle)
    # No limit of pending bytes: nats-py decrements the count when its queue is read, which does not happen here.
    subscription = await nc.subscribe(subject, queue=queue, cb=ordinary, pending_bytes_limit=0)
    for message in internals.replace_queue(subscription, direct) or ():
        direct.put_nowait(message)
    return subscription


async def leave(nc: Client, *subscriptions: Subscription) -> None:
    """End subscriptions, and return when all messages sent to them have been passed on.

    nats-py's own `Subscription.drain` sends its PING before the buffered UNSUB, so messages that the server sends in
    between arrive after the PONG and are dropped.

    Raises:
        nats.errors.Error: if the connection is lost, or the server does not answer.
    """
    for subscription in subscriptions:
        await internals.send_unsubscribe(nc, subscription)
    await nc.flush()
    await nc.flush()  # this PING follows the UNSUBs
    for subscription in subscriptions:
        await subscription.unsubscribe()


class _Direct:
    """The part of a queue's interface that nats-py uses."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def put_nowait(self, message: Msg) -> None:
        try:
            self._handle(message)
        except Exception:
            # An exception in nats-py's reader would close the connection.
            _log.exception("%s could not be handled", message.subject)

    async def get(self) -> Msg:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def join(self) -> None:
        """Return at once: the queue is always empty."""

    def task_done(self) -> None:
        """Do nothing: the queue is always empty."""

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return True
