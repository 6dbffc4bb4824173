"""The audit log: what operators did, by command or in the console, and how it ended.

Each action leaves two entries in the stream `AUDIT`: one before it begins, and one with its outcome. The server refuses
to delete or purge messages of that stream; entries end after `streams.AUDIT_KEPT` seconds. It is in control's account,
where nothing leads that a worker, a client or a page sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import HeadwayError, MissingStream
from headway.bus.nats import values
from headway.bus.nats.streams import AUDIT
from headway.bus.wire import subjects
from headway.control.records import Record

Source = Literal["cli", "console"]
State = Literal["begun", "done", "failed"]
_MOST: Final = 1000
"""Characters of a text that are kept."""


class Entry(Record):
    """One entry.

    Attributes:
        id: of the action; its two entries share it.
        by: who did it.
        source: where they did it.
        host: name of the machine; empty for the console, whose people are elsewhere.
        action: what they did, such as `rollout start`.
        about: the arguments.
        state: whether the action begins, is done, or has failed.
        said: the outcome.
    """

    id: str
    by: str
    source: Source
    host: str = ""
    action: str
    about: dict[str, Any] = Field(default_factory=dict)
    state: State = "begun"
    said: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry as the server stored it.

    Attributes:
        seq: its number.
        at: when it was stored, by the server's clock.
        entry: the entry; None if it cannot be read.
    """

    seq: int
    at: datetime
    entry: Entry | None


class Outcome:
    """What an action came to; its author sets `said`."""

    def __init__(self) -> None:
        self.said = ""


async def record(bus: Bus, entry: Entry) -> None:
    """Store an entry.

    Raises:
        MissingStream: if the installation has no audit log yet.
        NotStored, ConnectionFailed: if it is not stored.
    """
    kept = entry.model_copy(update={"said": entry.said[:_MOST]})
    subject = subjects.audit(entry.source)
    await values.write(bus.records.js, AUDIT, subject, kept.model_dump_json(exclude_defaults=True).encode(), {}, None)


@asynccontextmanager
async def recorded(
    bus: Bus,
    by: str,
    source: Source,
    action: str,
    about: Mapping[str, Any] | None = None,
    *,
    host: str = "",
    missing: Callable[[str], None] | None = None,
) -> AsyncIterator[Outcome]:
    """Record an action around the block. It does not begin if it cannot be recorded.

    Args:
        bus: a connection in the role operator.
        by: who does it.
        source: where.
        action: what.
        about: its arguments, without secrets.
        host: name of the machine.
        missing: called with the reason if this installation has no audit log; the action is then done. None refuses it.

    Raises:
        MissingStream, NotStored, ConnectionFailed: if the action cannot be recorded.
    """
    begun = Entry(id=unique_id(), by=by, source=source, host=host, action=action, about=dict(about or {}))
    outcome = Outcome()
    try:
        await record(bus, begun)
    except MissingStream as error:
        if missing is None:
            raise
        missing(error.message)
        yield outcome
        return
    try:
        yield outcome
    except BaseException as error:
        said = error.message if isinstance(error, HeadwayError) else type(error).__name__
        with suppress(HeadwayError):  # what went wrong matters more
            await record(bus, begun.model_copy(update={"state": "failed", "said": said}))
        raise
    await record(bus, begun.model_copy(update={"state": "done", "said": outcome.said}))


async def entries(bus: Bus, start: int = 1) -> AsyncIterator[Logged]:
    """Yield the entries from a number on, oldest first.

    Raises:
        MissingStream: if the installation has no audit log yet.
        ConnectionFailed: if it cannot be read.
    """
    async for message in values.since(bus.records.js, AUDIT, subjects.AUDIT_ALL, start):
        found = message.headers or {}
        try:
            entry = Entry.model_validate_json(message.data)
        except ValidationError:
            entry = None  # written by another version, or by hand
        at = datetime.fromisoformat(found[values.TIME_STAMP])
        yield Logged(int(found[values.SEQUENCE]), at, entry)
