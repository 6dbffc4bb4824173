"""What is asked fails only while something is broken or has just been mended, with an error that says it may be tried
again, and nothing hangs beyond its deadline.

    call, route, hangup, agent-status    asked {"timeout", ...}     calls
    submit, emit, put, get               asked {"timeout", ...}     of the store

An operation that did not come back well has the error's code. Losing a compare-and-set is an answer, not a failure.

    stall     seen {"seconds"}     the clients' process did not run until now: the machine was too busy for all of them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.bus.errors import CallError, Conflict, ConnectionFailed, NotStored
from tests.zones.finding import Finding
from tests.zones.history import NEMESIS, Entry, Operation, operations, seen

ASKED = ("call", "route", "hangup", "agent-status", "submit", "emit", "put", "get")

SHORTLY = 5.0
"""Seconds after all is healthy again in which something may still fail."""
LATE = 2.0
"""Seconds beyond its deadline after which something hangs, apart from those in which nobody could notice."""

HANGS = "something did not end by its deadline"
UNCLEAR = "something failed with an error that does not say that it may be tried again"
WITHOUT_CAUSE = "something failed while nothing was broken"


def _retryable(kind: type[CallError]) -> set[str]:
    mine = {kind.code} if kind.retryable else set[str]()
    return mine.union(*(_retryable(sub) for sub in kind.__subclasses__()))


RETRYABLE = _retryable(CallError) | {ConnectionFailed.code, NotStored.code}


def calls(history: Sequence[Entry]) -> list[Finding]:
    stalls = [(entry.at - entry.value["seconds"], entry.at) for entry in seen(history, "stall")]
    windows = [*broken(history), *((began, until + SHORTLY) for began, until in stalls)]
    last = history[-1].at if history else 0.0
    findings = []
    for one in operations(history, *ASKED):
        ended = last if one.ended is None else one.ended
        stood = sum(until - began for began, until in stalls if began <= ended and one.began <= until)
        if ended > one.began + one.asked["timeout"] + LATE + stood:
            findings.append(Finding(HANGS, f"{_named(one)} took more than {ended - one.began:.1f} s"))
        if one.error is not None and not (one.error == Conflict.code and one.asked.get("expect") is not None):
            if one.error not in RETRYABLE:
                findings.append(Finding(UNCLEAR, f"{_named(one)}: {one.error}"))
            if not any(began <= ended and one.began <= until for began, until in windows):
                findings.append(Finding(WITHOUT_CAUSE, f"{_named(one)}: {one.error}"))
    return findings


def broken(history: Sequence[Entry]) -> list[tuple[float, float]]:
    """From when until when each fault can be felt."""
    faults = [one for one in operations(history, *_faults(history)) if one.process == NEMESIS]
    return [(one.began, float("inf") if one.ended is None else one.ended + SHORTLY) for one in faults]


def _faults(history: Sequence[Entry]) -> set[str]:
    return {entry.op for entry in history if entry.process == NEMESIS}


def _named(one: Operation) -> str:
    asked: dict[str, Any] = {name: value for name, value in one.asked.items() if name != "timeout"}
    return f"{one.process}: {one.op} {asked} at {one.began:.2f}"
