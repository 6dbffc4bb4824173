"""Computes an `Observation` from two samples: what happened between them, and the present state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from headway.bus.telemetry.histogram import BUCKETS, quantile
from headway.bus.wire.beat import Beat
from headway.scaler.lag import ConsumerLag, together
from headway.scaler.observation import Observation

WINDOW: Final = 3.0
"""Seconds between the two samples: enough heartbeats that one more or less does not matter."""

_FULL: Final = 0.7
"""Share of its slots up to which a worker can be expected to fill: it keeps a quarter for idle lanes."""

_WORK: Final = ("job", "on")
_NONE: Final = [0] * (len(BUCKETS) + 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of one version at one moment.

    Attributes:
        at: when, on a steady clock.
        lanes: its consumers; None if they are not known now.
        stored: messages ever stored in the service's queue.
        beats: the last beat of each of its workers.
        well: those of them that serve and are healthy.
        complete: whether every live worker has reported.
        silent: live workers without a heartbeat yet.
        waiting: messages handed back to be tried again later, and not due yet.
        elsewhere: messages of `lanes` that other versions' workers may have in hand.
    """

    at: float
    lanes: tuple[ConsumerLag, ...] | None = ()
    stored: int = 0
    beats: Mapping[str, Beat] = field(default_factory=dict)
    well: frozenset[str] = frozenset()
    complete: bool = True
    silent: int = 0
    waiting: int = 0
    elsewhere: int = 0


def observe(before: Sample | None, now: Sample) -> Observation:
    """Return what happened between two samples, and the present state.

    Args:
        before: the earlier one, about `WINDOW` seconds ago; None at first: then rates are unknown.
        now: the later one.
    """
    queue = None if now.lanes is None else together(now.lanes)
    moves = [_Move.between(before.beats.get(name) if before else None, beat) for name, beat in now.beats.items()]
    work = _add(move.work for move in moves if move.work is not _NONE)
    calls = _add(move.calls for move in moves if move.calls is not _NONE)
    told = [move for move in moves if move.seconds > 0]
    settled = [move for move in told if move.settled]
    done = sum(sum(move.work) + sum(move.calls) for move in settled)
    return Observation(
        at=now.at,
        workers=len(now.well),
        pending=None if queue is None else queue.pending,
        ack_pending=None if queue is None else queue.ack_pending,
        redelivered=0 if queue is None else queue.redelivered,
        due=_due(now),
        oldest_s=0.0 if queue is None else queue.oldest_s,
        arrivals=_arrivals(before, now),
        finished=sum(sum(move.work) / move.seconds for move in told),
        service_s=_mean(work),
        work_cpu_s=sum(move.cpu_s for move in settled) / done if done else None,
        in_hand=sum(beat.in_hand for beat in now.beats.values()),
        slots=max((beat.slots for beat in now.beats.values()), default=0) or None,
        cpu=sum(move.cpu_s / move.seconds for move in settled) if settled else None,
        calls=sum(sum(move.calls) / move.seconds for move in told),
        inflight=sum(beat.rpc_inflight for beat in now.beats.values()),
        limit=max((beat.limit for beat in now.beats.values()), default=0) or None,
        call_mean_s=_mean(calls),
        call_p95_s=quantile(calls, 0.95),
        complete=now.complete,
    )


def _due(now: Sample) -> int:
    """Return how many messages could be worked on at once, although the server counts them as delivered.

    JetStream counts retries and work that was handed back as unacknowledged until they are done. Messages that are
    neither in progress nor waiting for their time are due. While workers have free slots they take such messages at
    once; the difference is then only due to the delay of heartbeats.
    """
    if now.lanes is None:
        return 0
    beats, slots = now.beats, max((beat.slots for beat in now.beats.values()), default=0)
    room = sum(beats[worker].slots for worker in now.well)
    if room and sum(beats[worker].in_hand for worker in now.well) < _FULL * room:
        return 0
    in_hand = sum(beat.in_hand for beat in beats.values()) + now.silent * slots + now.elsewhere
    return max(0, together(now.lanes).ack_pending - in_hand - now.waiting)


def _arrivals(before: Sample | None, now: Sample) -> float | None:
    """Return the messages per second that arrived for this version.

    It is the growth of the backlog and of deliveries, minus repeated deliveries and jobs that workers have stored again
    in another lane. Workers report both, and the result cannot exceed what was stored for all versions together.
    """
    if before is None or before.lanes is None or now.lanes is None or now.at <= before.at:
        return None
    came = _seen(now.lanes) - _seen(before.lanes)
    again = moved = 0
    for name, beat in now.beats.items():
        old = before.beats.get(name)
        known = old is not None and old.started == beat.started
        again += beat.retried - (old.retried if old is not None and known else 0)
        moved += beat.moved - (old.moved if old is not None and known else 0)
    return max(0, min(came - again, now.stored - before.stored) - moved) / (now.at - before.at)


def _seen(lanes: Iterable[ConsumerLag]) -> int:
    queue = together(lanes)
    return queue.pending + queue.delivered


@dataclass(frozen=True, slots=True)
class _Move:
    """The work of one worker between two of its heartbeats, or since it started.

    One that is not `settled` has spent most of its CPU time on starting: that says nothing of its load.
    """

    settled: bool
    seconds: float
    cpu_s: float
    work: list[int]
    calls: list[int]

    @classmethod
    def between(cls, old: Beat | None, new: Beat) -> _Move:
        if old is not None and old.started != new.started:
            old = None
        if old is not None and old.latency == new.latency:  # idle: nothing to count, and this runs many times a second
            return cls(True, max(0.0, new.age_s - old.age_s), max(0.0, new.cpu_s - old.cpu_s), _NONE, _NONE)
        work, calls = _counts(new, _WORK), _counts(new, ("rpc",))
        if old is None:
            return cls(False, new.age_s, new.cpu_s, work, calls)
        return cls(
            True,
            max(0.0, new.age_s - old.age_s),
            max(0.0, new.cpu_s - old.cpu_s),
            _less(work, _counts(old, _WORK)),
            _less(calls, _counts(old, ("rpc",))),
        )


def _counts(beat: Beat, kinds: Iterable[str]) -> list[int]:
    return _add(beat.latency.get(kind, []) for kind in kinds)


def _add(histograms: Iterable[list[int]]) -> list[int]:
    total = [0] * (len(BUCKETS) + 1)
    for counts in histograms:
        for i, count in enumerate(counts[: len(total)]):
            total[i] += count
    return total


def _less(new: list[int], old: list[int]) -> list[int]:
    return [max(0, a - b) for a, b in zip(new, old, strict=True)]


def _mean(counts: list[int]) -> float | None:
    """Return the mean in seconds; each value counts as the middle of its bucket."""
    total = sum(counts)
    if not total:
        return None
    bounds = (0.0, *BUCKETS, BUCKETS[-1])
    return sum(count * (bounds[i] + bounds[i + 1]) / 2 for i, count in enumerate(counts)) / total
