"""The load of one version, the input of `decide`; made by scaler/observe.py or by a simulator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """The load of one version. Rates and means are taken between the last observation and this one.

    Attributes:
        at: when, in seconds of any steady clock.
        workers: workers that serve now (not starting, draining or unhealthy).
        pending: messages waiting on the server; None if unknown or stale: then nothing is scaled down.
        ack_pending: messages delivered and not acknowledged, including those that wait for a retry; None as
            `pending`.
        redelivered: those of them that were delivered more than once.
        due: those of them that could be processed now: due retries, and work that was handed back.
        oldest_s: upper estimate of the age of the oldest message not acknowledged.
        arrivals: messages stored per second; None if unknown.
        finished: messages finished per second.
        service_s: mean seconds that one message took; None if none was finished.
        work_cpu_s: mean CPU seconds per message or call; None if none was finished.
        in_hand: messages being worked on, over all workers.
        slots: messages that one worker may have in hand; None if no worker has reported it yet.
        cpu: cores used by all workers together; None if unknown.
        calls: calls finished per second.
        inflight: calls being served, over all workers.
        limit: calls that one worker serves at once; None if no worker told yet.
        call_mean_s, call_p95_s: latency of calls; None without calls.
        complete: False if a worker's report is missing: then nothing is scaled down.
    """

    at: float
    workers: int
    pending: int | None = 0
    ack_pending: int | None = 0
    redelivered: int = 0
    due: int = 0
    oldest_s: float = 0.0
    arrivals: float | None = 0.0
    finished: float = 0.0
    service_s: float | None = None
    work_cpu_s: float | None = None
    in_hand: int = 0
    slots: int | None = None
    cpu: float | None = None
    calls: float = 0.0
    inflight: int = 0
    limit: int | None = None
    call_mean_s: float | None = None
    call_p95_s: float | None = None
    complete: bool = True
