"""Move jobs of sidelined tenants from a common lane to another lane, without loss or duplicates.

A moved job is stored under its new subject first, with a message id made from its origin, and only then acknowledged in
its old lane. If the worker dies in between, the job is delivered again. The server knows the id for two minutes and
stores no second copy when another worker moves the job again.

Jobs are moved by the thousand, so their lines are joined and written once per turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.client.bus import Bus
from headway.bus.nats import internals
from headway.bus.nats.delivery import ACK, IN_PROGRESS, NAK, Delivery, copy_id
from headway.bus.nats.direct import subscribe
from headway.bus.nats.refusals import UNAVAILABLE, JsCode, is_full, refusal, translating
from headway.bus.wire import headers, subjects
from headway.bus.worker.lanes import PullState

_WHY: Final = "aside"
"""The beginning of a moved job's message id."""
_AGAIN: Final = 2.0
"""Maximum seconds without an acknowledgement until a job is sent again, under the same id."""
_ASK: Final = 5.0
"""Seconds that the server has to say whether a job was moved."""
_NEVER: Final = str((1 << 53) - 1)
"""A sequence that a stream never has."""
_WINDOW: Final = 64
"""Jobs sent at a time and not acknowledged. The others wait here: first of all, the jobs behind them are reached."""
_MORE: Final = 512
"""Bytes of headers that a moved job may have more than it had; one that would get too large stays in its lane."""
_STARTS: Final = 256
"""Maximum number of subjects whose lines are kept, since most moved jobs have one of a few subjects."""
_REMEMBERED: Final = 50_000
"""Number of jobs remembered as moved, in case their acknowledgement was lost and they are delivered again."""

_log = logging.getLogger("headway.bus")


@dataclass(slots=True)
class _Move:
    """A job on its way to another lane.

    Attributes:
        source: the state of its old lane.
        message: the job.
        key: its stream and sequence.
        lane: the new lane.
        at: when it was sent or its delivery was renewed (monotonic seconds).
    """

    source: PullState
    message: Msg
    key: tuple[str, int]
    lane: int
    at: float


class Mover:
    """Moves jobs over one connection.

    Args:
        bus: the connection.
        ack_wait: seconds after which the server delivers a job again that was not renewed.
        moved: called when a job has left its lane, or stays in it after all.
        refused: called when the server refuses a job, for example because the stream is full.
    """

    def __init__(self, bus: Bus, ack_wait: float, moved: Callable[[], None], refused: Callable[[], None]) -> None:
        self._nc = bus.nc
        self._outbox = bus.outbox
        self._ids = bus.ids
        self._renew = ack_wait / 3
        self._again = min(_AGAIN, self._renew)
        self._moved = moved
        self._refused = refused
        self._inbox = self._nc.new_inbox()
        self._subscription: Subscription | None = None
        self._starts: dict[tuple[str, int], bytes] = {}
        self._queue: deque[_Move] = deque()
        self._waiting: dict[int, _Move] = {}
        self._lines: list[bytes] = []
        self._number = 0
        self._under_way: set[tuple[str, int]] = set()
        self._done: dict[tuple[str, int], None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.count = 0
        """Jobs moved so far."""

    async def open(self) -> None:
        """Listen for the server's acknowledgements."""
        self._subscription = await subscribe(self._nc, f"{self._inbox}.*", self._on_stored)

    async def close(self) -> None:
        """Stop listening. A job on its way is delivered again, and not stored again."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._nc.is_closed:
            await subscription.unsubscribe()

    @property
    def busy(self) -> bool:
        """Whether jobs are on their way."""
        return not self._idle.is_set()

    async def idle(self) -> None:
        """Wait until no job is on its way."""
        await self._idle.wait()

    def is_moved(self, delivery: Delivery) -> bool:
        """Return whether this worker has moved a job that is delivered again: its acknowledgement was lost."""
        return (delivery.stream, delivery.sequence) in self._done

    def is_moving(self, delivery: Delivery) -> bool:
        """Return whether a job that is delivered again is on its way."""
        return (delivery.stream, delivery.sequence) in self._under_way

    def move(self, source: PullState, message: Msg, delivery: Delivery, lane: int) -> bool:
        """Begin to move a job.

        Args:
            source: the state of its old lane.
            message: the job.
            delivery: its delivery.
            lane: the new lane.

        Returns:
            False if it cannot be moved now and has to run where it is.
        """
        if self._subscription is None or not self._nc.is_connected:
            return False
        if len(message.data) + headers.size(message.headers or {}) + _MORE > self._nc.max_payload:
            return False
        key = (delivery.stream, delivery.sequence)
        self._queue.append(_Move(source, message, key, lane, time.monotonic()))
        source.moving += 1
        self._under_way.add(key)
        self._idle.clear()
        self._next()
        return True

    async def was_moved(self, message: Msg) -> bool:
        """Ask the server whether a redelivered job was moved: by a worker that died before it acknowledged the job.

        The request has the id of the moved job, and an expectation that is never true. So the server answers either
        that it knows the id, or that it refuses to store the message (nats-server checks the id first). The expectation
        has to be one that is checked before servers of a cluster agree on the message: see decision 33.

        Raises:
            StoreError: if the stream is missing or refuses for another reason.
            ConnectionFailed: without an answer in time.
        """
        subject = subjects.job_sidelined(message.subject, subjects.COMMON)
        fields = {
            headers.MESSAGE_ID: copy_id(_WHY, message.reply),
            headers.EXPECTED_SEQUENCE: _NEVER,
        }
        with translating(subject):
            reply = await self._nc.request(subject, b"", timeout=_ASK, headers=fields)
        said = orjson.loads(reply.data)
        if "error" not in said:
            return bool(said.get("duplicate"))
        if said["error"].get("err_code") != JsCode.WRONG_LAST_SEQUENCE:
            raise refusal(subject, said["error"])
        return False

    def tick(self, now: float) -> None:
        """Send again what was not acknowledged. Call it at least once a second.

        The old delivery is renewed at the same time, so that no other worker gets the job meanwhile.
        """
        if not self._nc.is_connected:
            return
        for number, move in self._waiting.items():
            if now - move.at > self._again:
                move.at = now
                self._outbox.offer(move.message.reply, IN_PROGRESS)
                self._send(number, move)
        for move in self._queue:
            if now - move.at > self._renew:
                move.at = now
                self._outbox.offer(move.message.reply, IN_PROGRESS)

    def _next(self) -> None:
        while self._queue and len(self._waiting) < _WINDOW:
            move = self._queue.popleft()
            self._number += 1
            self._waiting[self._number] = move
            self._send(self._number, move)

    def _send(self, number: int, move: _Move) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(self._line(number, move))

    def _line(self, number: int, move: _Move) -> bytes:
        """Return what publishes a job in its new lane."""
        message, (stream, sequence) = move.message, move.key
        start = self._starts.get((message.subject, move.lane))
        if start is None:
            if len(self._starts) >= _STARTS:
                self._starts.clear()
            subject = subjects.job_sidelined(message.subject, move.lane)
            start = self._starts[message.subject, move.lane] = f"HPUB {subject} {self._inbox}.".encode()
        tenant, message_id = message.subject.split(".")[4], copy_id(_WHY, message.reply)
        fields = headers.encode(self._ids.moved(message.headers, tenant, f"{stream}.{sequence}", message_id))
        size = len(fields) + len(message.data)
        return b"%b%d %d %d\r\n%b%b\r\n" % (start, number, len(fields), size, fields, message.data)

    def _write(self) -> None:
        data, count = b"".join(self._lines), len(self._lines)
        self._lines.clear()
        internals.write(self._nc, data, count)

    def _on_stored(self, message: Msg) -> None:
        number = int(message.subject.rsplit(".", 1)[1])
        move = self._waiting.get(number)
        if move is None:
            return
        # Parsed only if it may be a refusal: thousands of acknowledgements come in a second.
        said = orjson.loads(message.data) if message.data and b'"error"' in message.data else {}
        refused = said.get("error")
        if not message.data:
            return  # nobody listens for the stream now: `tick` sends it again
        if (
            refused is not None
            and refused.get("code") == UNAVAILABLE
            and not is_full(refused.get("err_code"), refused.get("description"))
        ):
            return  # no leader now: likewise
        del self._waiting[number]
        move.source.moving -= 1
        self._under_way.discard(move.key)
        if refused is not None:
            _log.warning("jobs of sidelined tenants stay in their lane: %s", refused.get("description", ""))
            self._outbox.offer(move.message.reply, NAK)
            self._refused()
        else:
            self.count += 1
            self._outbox.offer(move.message.reply, ACK)
            self._done[move.key] = None
            if len(self._done) > _REMEMBERED:
                del self._done[next(iter(self._done))]
        self._next()
        if not self._waiting:
            self._idle.set()
        self._moved()
