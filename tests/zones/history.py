"""The history of a run: what was asked, what came of it, what was seen, and which faults there were; in one file.

It is written as Jepsen writes its own: a process asks (`invoke`), and learns that it was done (`ok`), that it was
certainly not done (`fail`), or nothing it can rely on (`info`: it may have been done, or be done later). A process asks
one thing at a time. What is observed without being asked for is `seen`. One JSON object a line:

    {"at": 12.31, "process": "submit-1", "type": "invoke", "op": "submit", "value": {"key": "k7"}}

Times are of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

Type = Literal["invoke", "ok", "fail", "info", "seen"]

NEMESIS = "nemesis"
"""The process whose operations are faults: invoked when it strikes, done when all is healthy again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `error` is the code of what was raised, `value` whatever belongs to the operation."""

    at: float
    process: str
    type: Type
    op: str
    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """What a process asked, and what came of it.

    Attributes:
        began, ended: when; an operation that never came back has not ended.
        outcome: `ok`, `fail` or `info`; also `info` if it never came back.
        asked: the value it was invoked with.
        got: the value it came back with.
        error: the code of what was raised.
    """

    process: str
    op: str
    began: float
    ended: float | None
    outcome: Type
    asked: Any
    got: Any = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


class History:
    """Entries as they come, in memory and in a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file = None if path is None else path.open("ab", buffering=0)

    def write(self, process: str, type_: Type, op: str, value: Any = None, error: str | None = None) -> None:
        self.add(Entry(time.monotonic(), process, type_, op, value, error))

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(line(entry))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def line(entry: Entry) -> bytes:
    """An entry as a line of a file; what is empty is left out."""
    facts = {name: value for name, value in asdict(entry).items() if value is not None}
    return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)


def load(path: Path) -> list[Entry]:
    """A history that was written to a file. A last line that is not whole is left out: its writer was killed."""
    lines = path.read_bytes().split(b"\n")
    return [Entry(**orjson.loads(found)) for found in lines[:-1]]


def merged(*parts: Iterable[Entry]) -> list[Entry]:
    """Histories of several writers as one, in order of time."""
    return sorted((entry for part in parts for entry in part), key=lambda entry: entry.at)


def operations(history: Sequence[Entry], *ops: str) -> list[Operation]:
    """The operations of some kinds, in the order in which they were asked."""
    open_: dict[str, Entry] = {}
    found: list[Operation] = []
    for entry in history:
        if entry.op not in ops or entry.type == "seen":
            continue
        asked = open_.pop(entry.process, None)
        if entry.type == "invoke":
            if asked is not None:
                found.append(_unanswered(asked))
            open_[entry.process] = entry
        elif asked is not None:
            found.append(
                Operation(
                    asked.process, asked.op, asked.at, entry.at, entry.type, asked.value, entry.value, entry.error
                )
            )
    found += [_unanswered(asked) for asked in open_.values()]
    return sorted(found, key=lambda one: one.began)


def seen(history: Sequence[Entry], op: str) -> list[Entry]:
    """What was observed of one kind."""
    return [entry for entry in history if entry.type == "seen" and entry.op == op]


def _unanswered(asked: Entry) -> Operation:
    return Operation(asked.process, asked.op, asked.at, None, "info", asked.value)
