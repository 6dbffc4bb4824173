"""Has a version read what is really queued before it has traffic, and the version before read what it would write.

Schemas do not say everything: validators, strictness, digits of decimals, and fields that are forbidden. So a bounded
sample of the queued jobs, and the last dead letters, are validated by a worker of each version with its own code. A
message counts only if the version before accepts it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from headway.bus.client import dead
from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, MissingStream
from headway.bus.nats import jsapi, values
from headway.bus.nats.refusals import translating
from headway.bus.nats.streams import DEAD, jobs_stream
from headway.bus.wire import headers
from headway.bus.worker import validation
from headway.bus.worker.validation import Validated
from headway.deployer.errors import ContractBroken, NotProven
from headway.deployer.rollout.proof import ask_all

JOBS: Final = 200
"""Most queued jobs that are read, spread over the queue."""
LETTERS: Final = 50
"""Most dead letters that are read."""
_RECENT: Final = 5_000
"""Dead letters of all services among which they are looked for."""
_TIMEOUT: Final = 5.0
_TOLD: Final = 3
"""Findings that are named."""

_log = logging.getLogger("headway.deployer")


class Sample(NamedTuple):
    """A stored message.

    Attributes:
        operation: as in the subject of a dead letter.
        payload: its payload.
        queued: whether it is a queued job; otherwise it is a dead letter.
    """

    operation: str
    payload: bytes
    queued: bool


class Opinion(NamedTuple):
    """What the versions make of a sample: the new one, the one before, and that one of what the new one writes."""

    sample: Sample
    new: Validated
    old: Validated | None
    back: Validated | None


def broken(opinions: Iterable[Opinion], new: str, old: str) -> list[str]:
    """Return what would be refused, one sentence each. Pure.

    Args:
        opinions: of the samples.
        new: the new version's label.
        old: that of the version before.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    for sample, mine, theirs, back in opinions:
        if theirs is not None and theirs.problem:
            continue
        kind = "queued" if sample.queued else "dead letter"
        if mine.problem and (sample.queued or theirs is not None):
            found[sample.operation, f"{new} refuses what {old} takes ({kind})", mine.problem] += 1
        elif back is not None and back.problem:
            found[sample.operation, f"{old} would refuse what {new} writes of it ({kind})", back.problem] += 1
    return [
        f"{operation}: {what}: {problem}; {count} such in the sample"
        for (operation, what, problem), count in found.most_common(_TOLD)
    ]


async def check(bus: Bus, service: str, new: str, old: str) -> None:
    """Check that what is stored can be read by both versions.

    Args:
        bus: a connection in the control or operator role.
        service: name of the service.
        new: the version that is rolled out; it has workers.
        old: the version before.

    Raises:
        ContractBroken: naming what would be refused.
        NotProven, ConnectionFailed: if the versions or the queue cannot be asked now.
    """
    samples = await _samples(bus, service, old)
    if not samples:
        return
    workers = await _workers(bus, service)
    if new not in workers:
        _log.info("%s: the workers of %s cannot validate what is queued", service, new)
        return
    ours, theirs = _subject(service, workers[new]), _subject(service, workers.get(old, ""))
    opinions = []
    for sample in samples:
        mine = await _ask(bus, ours, sample.operation, sample.payload)
        other = await _ask(bus, theirs, sample.operation, sample.payload) if old in workers else None
        back = None
        if other is not None and not other.problem and not mine.problem:
            back = await _ask(bus, theirs, sample.operation, mine.written)
        opinions.append(Opinion(sample, mine, other, back))
    if problems := broken(opinions, new, old):
        raise ContractBroken(f"{service} {new} does not fit what is stored: {'; '.join(problems)}")


def _subject(service: str, worker: str) -> str:
    return f"$SRV.{validation.VERB}.{service}.{worker}"


async def _ask(bus: Bus, subject: str, operation: str, payload: bytes) -> Validated:
    """Return what a worker makes of a payload. Raises `NotProven`."""
    try:
        with translating(subject):
            reply = await bus.nc.request(
                subject, payload, timeout=_TIMEOUT, headers={validation.OPERATION: headers.clean(operation)}
            )
    except (HeadwayError, TimeoutError) as error:
        raise NotProven(f"{subject} is not answered: {error!r}", remedy="it is tried again") from error
    return Validated((reply.headers or {}).get(validation.PROBLEM, ""), reply.data)


async def _workers(bus: Bus, service: str) -> dict[str, str]:
    """Return a worker of each version that can validate: those of an older Headway cannot."""
    found: dict[str, str] = {}
    for answer in await ask_all(bus, f"$SRV.PING.{service}"):
        told = answer.get("metadata") or {}
        if told.get(validation.CAN):
            found[told.get("headway.version", "")] = answer["id"]
    return found


async def _samples(bus: Bus, service: str, old: str) -> list[Sample]:
    return [*await _queued(bus, service, old), *await _letters(bus, service)]


async def _queued(bus: Bus, service: str, version: str) -> Sequence[Sample]:
    """Return jobs of a version, spread over its queue."""
    stream, wanted = jobs_stream(service), f"job.{service}.{version}.>"
    try:
        state = (await jsapi.request(bus.nc, f"STREAM.INFO.{stream}"))["state"]
    except MissingStream:
        return ()
    first, last = state["first_seq"], state["last_seq"]
    found: dict[int, Sample] = {}
    for number in range(JOBS if state["messages"] else 0):
        start = first + number * (last - first + 1) // JOBS
        if found and start <= max(found):
            continue
        message = await values.following(bus.js, stream, wanted, start)
        if message is None:
            break
        sequence = int((message.headers or {})[values.SEQUENCE])
        found[sequence] = Sample(message.subject.split(".")[-1], message.data, queued=True)
    return [*found.values()]


async def _letters(bus: Bus, service: str) -> Sequence[Sample]:
    """Return the last dead letters with their whole payload."""
    try:
        last = (await jsapi.request(bus.nc, f"STREAM.INFO.{DEAD}"))["state"]["last_seq"]
    except MissingStream:
        return ()
    found = [
        Sample(letter.operation, letter.payload, queued=False)
        async for letter in dead.list_(bus.js, service, start=max(1, last - _RECENT))
        if not (letter.blob or letter.cut)
    ]
    return found[-LETTERS:]
