"""Continuous pulling from many durable consumers over one inbox (ADR-37 `consume`).

nats-py's `fetch` requests a batch, waits for it and only then requests the next one; it treats a deleted consumer or a
new leader as a timeout, and does not check heartbeats. Here requests overlap: the next one is pending while messages of
the last one are processed. `headway.bus.worker.lanes.plan` decides how much to request from which lane.

Messages that the server reported for a lane may have gone to another worker since. A request to such a lane therefore
expires soon: while unanswered, it occupies slots that other lanes need.

Short requests also help a worker to leave. A message that the server sends to an inbox which just disappears has to be
redelivered. So a worker that leaves sends no more requests, waits until those to lanes with traffic have expired, and
only then unsubscribes.

All deliveries and status messages arrive on one subscription: a delivery names its consumer in its reply subject, the
subject of a status message, `<inbox>.<lane>`, names the lane. After a reconnect, a change of the consumer's leader, or
two missed heartbeats, the requests of a lane count as lost and are sent again.
See docs/decisions/0002-nats-py-and-our-own-consume.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.errors import HeadwayError
from headway.bus.nats.delivery import NAK, Delivery, nak, read
from headway.bus.nats.direct import leave, subscribe
from headway.bus.nats.refusals import translating
from headway.bus.wire import headers
from headway.bus.worker.calm import Calm
from headway.bus.worker.lanes import PullState, plan
from headway.bus.worker.shares import Shares

EXPIRES: Final = 30.0
"""Seconds until a pull request to a quiet lane expires."""
QUIET: Final = 2.0
"""Seconds without a message after which a lane is quiet."""
BUSY_EXPIRES: Final = 0.25
"""Seconds until one expires to a lane with recent traffic that was last seen empty; a leaving worker waits for it."""
HOT_EXPIRES: Final = 0.1
"""Seconds until one expires to a lane that was last seen with messages: they come soon, or others were faster."""
HEARTBEAT: Final = 5.0
"""Seconds between the server's idle heartbeats; after two missed ones the request counts as lost."""
RETURN: Final = 0.1
"""Seconds until a message comes again that is handed back to a lane whose jobs are being moved."""
RETRY: Final = 0.25
"""Seconds before the next request to a lane whose consumer did not answer."""
_EARLY: Final = 0.01
"""Seconds by which a timer may fire early, with a margin: event loops have a resolution of milliseconds."""

_NS = 1_000_000_000
_FLUSH_TIMEOUT = 2.0

_log = logging.getLogger("headway.bus")

Deliver = Callable[["Source", Msg, Delivery], bool]
"""Takes a message as it arrives. It returns False to hand it back at once."""


@dataclass(slots=True, eq=False)
class Source(PullState):
    """A durable consumer to pull from.

    Attributes:
        stream: its stream.
        consumer: its name.
        index: its index among the puller's sources.
        heard: when the last message or status about it arrived (monotonic seconds).
        delivered: when its last message arrived, or pulling started (monotonic seconds).
        long: whether the pending request has the long expiry of a quiet lane.
        not_before: earliest time of the next request (monotonic seconds).
    """

    stream: str = ""
    consumer: str = ""
    index: int = 0
    heard: float = 0.0
    delivered: float = 0.0
    long: bool = False
    not_before: float = 0.0


class MessagePuller:
    """Pulls from all sources, evenly, as long as there are free slots.

    Args:
        nc: the connection.
        sources: (stream, consumer) of each lane.
        concurrency: maximum number of messages processed at once.
        deliver: called with each message as it arrives; must not block. It returns True to accept the message
            and call `finished()` when done, or False to hand it back to the server at once.
        recreate: called when a consumer no longer exists; creates it again.
    """

    def __init__(
        self,
        nc: Client,
        sources: Sequence[tuple[str, str]],
        concurrency: int,
        deliver: Deliver,
        recreate: Callable[[Source], None],
    ) -> None:
        self._nc = nc
        self._concurrency = concurrency
        self._deliver = deliver
        self._recreate = recreate
        self.sources = [
            Source(stream=stream, consumer=consumer, index=i) for i, (stream, consumer) in enumerate(sources)
        ]
        self._shares = Shares(self.sources)
        self._calm = Calm(concurrency)
        self._woken = 0.0
        self._by_consumer = {source.consumer: source for source in self.sources}
        self._inbox = nc.new_inbox()
        self._subscription: Subscription | None = None
        self._cursor = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._over = asyncio.Event()
        self._returned: list[tuple[str, bytes]] = []
        self._request_cache: dict[tuple[int, float], bytes] = {}

    async def run(self) -> None:
        """Pull until cancelled. Deliveries continue until `stop()`."""
        self._subscription = await subscribe(self._nc, f"{self._inbox}.*", self._on_message)
        now = time.monotonic()
        for source in self.sources:
            source.delivered = now
        self.wake()
        while True:
            # One decision for everything that finished or arrived in one turn of the loop.
            await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            self._calm.turn(now - self._woken, now)
            await self._hand_back()
            await self._pull()

    async def stop(self) -> None:
        """Send no more requests, and return when everything delivered so far has been passed on."""
        self._stopping = True
        if self._subscription is not None and self._nc.is_connected and not self._requests_are_over():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * BUSY_EXPIRES):
                    await self._over.wait()
        subscription, self._subscription = self._subscription, None
        if subscription is None or self._nc.is_closed:
            return
        try:
            with translating("the consumers"):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    # UNSUB cancels the pending requests; messages already on their way still arrive.
                    await leave(self._nc, subscription)
        except (TimeoutError, HeadwayError):
            _log.warning("could not unsubscribe from the consumers; the server redelivers messages on their way")
        await self._hand_back()

    def _requests_are_over(self) -> bool:
        """Return whether all pending requests are to quiet lanes."""
        return all(source.long or not source.outstanding for source in self.sources)

    async def _hand_back(self) -> None:
        """Hand messages back to the server that arrived with all slots taken."""
        returned, self._returned = self._returned, []
        for reply, word in returned:
            try:
                with translating("a delivery"):
                    await self._nc.publish(reply, word)
            except HeadwayError as error:
                _log.debug("not handed back, the server redelivers after the ack wait: %r", error)

    def finished(self, source: Source) -> None:
        """Free the slot of a finished message."""
        source.in_hand -= 1
        self.wake()

    def returned(self, source: Source, reply: str) -> None:
        """Hand an accepted message back that was not started, and free its slot."""
        source.in_hand -= 1
        source.pending = max(1, source.pending)
        # A lane whose jobs are being moved has a large request pending, which would deliver it here again at once.
        self._returned.append((reply, nak(RETURN) if source.sidelining else NAK))
        self.wake()

    def wake(self) -> None:
        """Plan again at the end of this turn of the loop: the state of a source has changed."""
        if not self._wake.is_set():
            self._woken = time.monotonic()
            self._wake.set()

    def tick(self) -> None:
        """Detect lost requests, and repeat those that could not be sent. Call it at least once a second."""
        now = time.monotonic()
        for source in self.sources:
            if source.outstanding and now - source.heard > 2 * HEARTBEAT:
                _log.warning("%s/%s: no heartbeat, requesting again", source.stream, source.consumer)
                self._lost(source, now)
        self.wake()

    def reconnected(self) -> None:
        """Mark all requests as lost after a reconnect: the server has dropped them."""
        now = time.monotonic()
        for source in self.sources:
            self._lost(source, now)
        self.wake()

    def _lost(self, source: Source, now: float, wait: float = 0.0) -> None:
        source.outstanding = 0
        source.heard = now
        source.not_before = now + wait

    async def _pull(self) -> None:
        if self._subscription is None or self._stopping or not self._nc.is_connected:
            return
        now = time.monotonic()
        self._shares.note(now)
        for index, batch in plan(self._concurrency, self.sources, self._cursor, self._calm.limit):
            source = self.sources[index]
            if now < source.not_before:
                continue
            if not source.outstanding:
                source.heard = now
            source.outstanding += batch
            self._cursor = index + 1
            source.long = not source.pending and now - source.delivered > QUIET
            expires = HOT_EXPIRES if source.pending else EXPIRES if source.long else BUSY_EXPIRES
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{source.consumer}"
            try:
                with translating(subject):
                    await self._nc.publish(subject, self._request(batch, expires), reply=f"{self._inbox}.{index}")
            except HeadwayError as error:
                source.outstanding -= batch
                _log.debug("pull not sent: %r", error)
                return

    def _request(self, batch: int, expires: float) -> bytes:
        request = self._request_cache.get((batch, expires))
        if request is None:
            asked = {"batch": batch, "expires": int(expires * _NS)}
            if expires > 2 * HEARTBEAT:
                asked["idle_heartbeat"] = int(HEARTBEAT * _NS)
            request = self._request_cache[batch, expires] = orjson.dumps(asked)
        return request

    def _on_message(self, message: Msg) -> None:
        reply = message.reply
        known = read(reply) if reply else None
        self.wake()
        if known is None:
            self._on_status(self.sources[int(message.subject.rsplit(".", 1)[1])], message)
            if self._stopping and self._requests_are_over():
                self._over.set()
            return
        source = self._by_consumer[known.consumer]
        source.heard = source.delivered = time.monotonic()
        if source.outstanding > 0:
            source.outstanding -= 1
        if not (source.pending or known.pending):
            self._calm.single(source.heard)
        if self._stopping and self._requests_are_over():
            self._over.set()
        source.pending = known.pending
        if self._deliver(source, message, known):
            source.in_hand += 1
        else:
            source.pending = max(1, known.pending)
            self._returned.append((reply, NAK))

    def _on_status(self, source: Source, message: Msg) -> None:
        now = time.monotonic()
        source.heard = now
        fields = message.headers or {}
        status = fields.get(headers.STATUS, "")
        if status == "100":  # idle heartbeat
            return
        if status in {"404", "408"}:  # expired or no messages; the header says how much of the batch is unserved
            unserved = fields.get("Nats-Pending-Messages", "")
            source.outstanding = max(0, source.outstanding - int(unserved)) if unserved.isdigit() else 0
            source.pending = 0
            return
        description = fields.get(headers.DESCRIPTION, "")
        _log.info("%s/%s: %s %s", source.stream, source.consumer, status, description)
        # 503: no responder for the consumer; 409: deleted, leadership change, shutdown, a limit.
        self._lost(source, now, RETRY)
        asyncio.get_running_loop().call_later(RETRY + _EARLY, self.wake)
        if status == "503" or "deleted" in description.lower():
            self._recreate(source)
