"""One message in hand, from its delivery to its answer."""

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
    """One message in hand, and the attempt that is made of it.

    Attributes:
        source: where it came from.
        kind: job or event.
        message: it.
        delivery: what the server says of its delivery.
        reply: the subject to answer to; the latest one, if it was delivered again meanwhile.
        began: when it came, then when its handler began (monotonic seconds).
        extended: when the server was last told that it is being worked on.
        record: what happened to it before.
        noted: whether the log of attempts has a record of it.
        alone: whether it is run alone.
        handler, invoke: who works on it; None if nobody can.
        tenant, operation: whose it is, and where its dead letter is filed.
        context: the handler's, once it runs.
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
        self.due = NEVER  # said here and not by super(): this runs for each message
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


class Misfit(Exception):  # no error: it says what becomes of a message
    """No handler can take a message.

    Args:
        cause: of its dead letter.
        reason: likewise.
    """

    def __init__(self, cause: dead.Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
