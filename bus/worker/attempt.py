"""One message that a worker is processing, from its delivery to its acknowledgement."""

from __future__ import annotations

from typing import ClassVar

from nats.aio.msg import Msg

from headway.bus.client import dead
from headway.bus.context import Context
from headway.bus.handlers import Handler, Invoke, Kind
from headway.bus.nats.delivery import Delivery
from headway.bus.worker.attempts import NONE
from headway.bus.worker.consume import Source
from headway.bus.worker.timeouts import NEVER, Timed


class Attempt(Timed):
    """One message that a worker is processing, and the current attempt.

    Attributes:
        source: the consumer it came from.
        kind: job or event.
        message: the message.
        delivery: metadata of its delivery.
        reply: the subject to answer to; the latest one, if the message was redelivered meanwhile.
        began: when it arrived, later when its handler started (monotonic seconds).
        extended: when its ack wait was last renewed (monotonic seconds).
        record: the record of its previous attempts.
        noted: whether that record is stored.
        alone: whether it runs alone.
        handler, invoke: the handler and its `bind()`; unset if there is none.
        tenant, operation: its tenant, and the operation of its dead letter.
        context: the handler's context, once it runs.
    """

    __slots__ = (
        "alone",
        "began",
        "context",
        "delivery",
        "extended",
        "handler",
        "invoke",
        "kind",
        "message",
        "noted",
        "operation",
        "record",
        "reply",
        "source",
        "tenant",
    )

    waits: ClassVar[bool] = True
    handler: Handler
    invoke: Invoke

    def __init__(self, source: Source, kind: Kind, message: Msg, delivery: Delivery, now: float) -> None:
        self.due = NEVER  # not by super(): this runs for each message
        self.timed_out = False
        self.returned = False
        self.thread = None
        self.source = source
        self.kind = kind
        self.message = message
        self.delivery = delivery
        self.reply = message.reply
        self.began = now
        self.extended = now
        self.record = NONE
        self.noted = self.alone = False
        self.context: Context | None = None
        self.tenant = self.operation = ""


class Misfit(Exception):  # not an error: it decides the outcome of a message
    """No handler can process a message.

    Args:
        cause: cause of its dead letter.
        reason: reason of its dead letter.
    """

    def __init__(self, cause: dead.Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
