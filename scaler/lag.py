"""Reads the backlog of all versions and lanes, in few requests for any number of services.

One `STREAM.LIST` returns the message count and last sequence of all job streams. Only streams that hold or received
messages are asked for their consumers, concurrently. Unlike `/jsz`, which a follower answers from its own state,
these requests are answered by leaders (in a cluster, through the meta leader, which names those it could not reach).
A queue without a certain answer is unknown, never empty.

While a stream has no leader, the meta leader waits four seconds for it before it answers a list. So after a late or
incomplete list the streams are asked one by one for a while: those with a leader answer at once.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.nats.refusals import translating
from headway.bus.nats.streams import EVENTS, JOBS, parse_lane_consumer

TIMEOUT: Final = 1.0
"""Seconds one request may take."""
RELIST: Final = (2.0, 60.0)
"""Seconds until a list that was late or incomplete is tried again: at first, doubling, and at most."""
_SAMPLES: Final = 600
"""Reads for which a stream's progress is remembered."""


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """The messages of one consumer.

    Attributes:
        pending: not yet delivered.
        ack_pending: delivered and not acknowledged, including those that wait for a retry.
        redelivered: those of them that were delivered more than once.
        delivered: deliveries so far, including repeated ones.
        floor: stream sequence up to which all is acknowledged.
        oldest_s: upper estimate of the age of the oldest that is not acknowledged; 0 if there is none.
    """

    pending: int
    ack_pending: int
    redelivered: int
    delivered: int
    floor: int
    oldest_s: float = 0.0

    @property
    def left(self) -> int:
        """Messages that are not acknowledged."""
        return self.pending + self.ack_pending


def together(lanes: Iterable[ConsumerLag]) -> ConsumerLag:
    """Add up consumers: sums, the lowest floor, the oldest message; all zeros without consumers."""
    lanes = tuple(lanes)
    return ConsumerLag(
        pending=sum(lane.pending for lane in lanes),
        ack_pending=sum(lane.ack_pending for lane in lanes),
        redelivered=sum(lane.redelivered for lane in lanes),
        delivered=sum(lane.delivered for lane in lanes),
        floor=min((lane.floor for lane in lanes), default=0),
        oldest_s=max((lane.oldest_s for lane in lanes), default=0.0),
    )


@dataclass(frozen=True, slots=True)
class Lags:
    """The state of all queues at one moment.

    Attributes:
        at: when, on the clock of the caller.
        lanes: by service, version and lane number.
        events: consumers of events, by their name `<service>_<type>`.
        stored: messages ever stored in a service's stream.
        unknown: streams whose state is not completely known, such as `JOBS_fax` or `EVENTS`.
        blind: whether even the set of streams is unknown.
    """

    at: float
    lanes: Mapping[tuple[str, str], Mapping[int, ConsumerLag]] = field(default_factory=dict)
    events: Mapping[str, ConsumerLag] = field(default_factory=dict)
    stored: Mapping[str, int] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    blind: bool = False

    def known(self, stream: str) -> bool:
        """Return whether a stream's state is completely known."""
        return not self.blind and stream not in self.unknown


@dataclass(slots=True)
class _Stream:
    """State of a stream that is kept between reads."""

    messages: int = 0
    last: int = 0
    first_at: float | None = None
    read: bool = False
    consumers: dict[str, ConsumerLag] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    since: dict[str, float] = field(default_factory=dict)

    def note(self, now: float) -> None:
        """Record the stream's progress."""
        if not self.sequences or self.sequences[-1] != self.last:
            self.times.append(now)
            self.sequences.append(self.last)
            del self.times[:-_SAMPLES], self.sequences[:-_SAMPLES]

    def age(self, name: str, floor: int, left: int, now: float, *, first_look: bool) -> float:
        """Return an upper bound of the age of a consumer's oldest message, in seconds.

        It is no older than the time its consumer got a backlog, and no older than the time the stream passed its
        acknowledgement floor. On the first read only the age of the stream's first message is known.
        """
        if not left:
            self.since.pop(name, None)
            return 0.0
        if name not in self.since:
            self.since[name] = now - (self.first_at or 0.0) if first_look else now
        passed = bisect_right(self.sequences, floor)
        after = self.times[passed] if 0 < passed < len(self.times) else self.since[name]
        return now - max(self.since[name], after)


class LagReader:
    """Reads all queues repeatedly.

    Args:
        bus: a connection in the control or operator role.
        timeout: seconds each request may take.
    """

    def __init__(self, bus: Bus, timeout: float = TIMEOUT) -> None:
        self._nc = bus.nc
        self._timeout = timeout
        self._streams: dict[str, _Stream] = {}
        self._relist = -math.inf
        self._pause = RELIST[0]
        self.requests = 0
        """Requests sent so far."""

    async def read(self, now: float) -> Lags:
        """Read all queues.

        Args:
            now: monotonic seconds; ages and rates are computed from it.
        """
        found = await self._listed(now) if now >= self._relist else None
        if found is None:
            found = await self._one_by_one()
        if found is None:
            return self.unknown(now)
        infos, unknown = found
        for name in self._streams.keys() - infos.keys() - unknown:
            del self._streams[name]
        moved = [name for name, info in infos.items() if self._note(name, info, now)]
        answers = await asyncio.gather(*(self._list(f"$JS.API.CONSUMER.LIST.{name}", "consumers") for name in moved))
        for name, answer in zip(moved, answers, strict=True):
            if answer is None or answer[1] or not self._take(name, answer[0], now):
                unknown.add(name)
        return self._fold(now, frozenset(unknown))

    def unknown(self, now: float) -> Lags:
        """Return the last result with everything marked as unknown."""
        return replace(self._fold(now, frozenset()), blind=True)

    async def _listed(self, now: float) -> tuple[dict[str, Any], set[str]] | None:
        """Return all streams from one list; None if it is late or incomplete."""
        listed = await self._list("$JS.API.STREAM.LIST", "streams")
        if listed is None or listed[1]:
            self._relist = now + self._pause
            self._pause = min(RELIST[1], 2 * self._pause)
            return None
        self._pause = RELIST[0]
        return {info["config"]["name"]: info for info in listed[0] if _ours(info["config"]["name"])}, set()

    async def _one_by_one(self) -> tuple[dict[str, Any], set[str]] | None:
        """Ask each stream by itself; return those that answered and those that did not, or None without names."""
        listed = await self._list("$JS.API.STREAM.NAMES", "streams")
        if listed is None:
            return None
        names = [name for name in listed[0] if _ours(name)]
        answers = await asyncio.gather(*(self._ask(f"$JS.API.STREAM.INFO.{name}", b"") for name in names))
        found = {name: info for name, info in zip(names, answers, strict=True) if info is not None}
        return found, set(names) - found.keys()

    def _note(self, name: str, info: dict[str, Any], now: float) -> bool:
        """Record the state of a stream; return whether its consumers have to be asked."""
        state, known = info["state"], self._streams.setdefault(name, _Stream())
        busy = name != EVENTS and bool(state["messages"] or known.messages)
        moved = state["last_seq"] != known.last
        known.messages, known.last = state["messages"], state["last_seq"]
        known.first_at = _age(state.get("first_ts", ""), info.get("ts", "")) if state["messages"] else None
        known.note(now)
        waiting = any(lane.left for lane in known.consumers.values())
        return busy or moved or waiting or not known.read

    def _take(self, name: str, infos: list[dict[str, Any]], now: float) -> bool:
        """Record the consumers of a stream; return False if one of them has no leader."""
        known = self._streams[name]
        first_look, known.read = not known.read, True
        lanes = {}
        for info in infos:
            cluster = info.get("cluster")
            if cluster is not None and not cluster.get("leader"):
                return False
            left = info["num_pending"] + info["num_ack_pending"]
            floor = info["ack_floor"]["stream_seq"]
            lanes[info["name"]] = ConsumerLag(
                pending=info["num_pending"],
                ack_pending=info["num_ack_pending"],
                redelivered=info["num_redelivered"],
                delivered=info["delivered"]["consumer_seq"],
                floor=floor,
                oldest_s=known.age(info["name"], floor, left, now, first_look=first_look),
            )
        known.consumers = lanes
        return True

    def _fold(self, now: float, unknown: frozenset[str]) -> Lags:
        lanes: dict[tuple[str, str], dict[int, ConsumerLag]] = {}
        for name, stream in self._streams.items():
            if name == EVENTS:
                continue
            for consumer, lane in stream.consumers.items():
                if (known := parse_lane_consumer(consumer)) is not None:
                    lanes.setdefault((name.removeprefix(JOBS), known.version), {})[known.lane] = lane
        events = self._streams[EVENTS].consumers if EVENTS in self._streams else {}
        stored = {n.removeprefix(JOBS): stream.last for n, stream in self._streams.items() if n != EVENTS}
        return Lags(at=now, lanes=lanes, events=dict(events), stored=stored, unknown=unknown)

    async def _list(self, subject: str, kind: str) -> tuple[list[Any], list[str]] | None:
        """Return all pages of a list, and what the server reports as missing; None without a certain answer."""
        found: list[Any] = []
        missing: list[str] = []
        while True:
            reply = await self._ask(subject, orjson.dumps({"offset": len(found) + len(missing)}))
            if reply is None:
                return None
            page, without = reply.get(kind) or [], reply.get("missing") or []
            found += page
            missing += without
            if not (page or without) or len(found) + len(missing) >= reply.get("total", 0):
                return found, missing

    async def _ask(self, subject: str, payload: bytes) -> dict[str, Any] | None:
        """Send one request; return None without an answer, or if it is an error."""
        self.requests += 1
        try:
            with translating(subject):
                reply = orjson.loads((await self._nc.request(subject, payload, timeout=self._timeout)).data)
        except (HeadwayError, TimeoutError, orjson.JSONDecodeError):
            return None
        return None if "error" in reply else reply


def _ours(name: str) -> bool:
    return name.startswith(JOBS) or name == EVENTS


def _age(at: str, now: str) -> float | None:
    """Return the seconds between two of the server's times (RFC 3339); None if one is invalid."""
    try:
        return max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(at)).total_seconds())
    except (ValueError, TypeError):
        return None
