"""Actions of operators in the console: the same functions as the commands, each logged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from headway.bus.client import dead
from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import HeadwayError
from headway.bus.wire.subjects import CONSOLE
from headway.clientsync.errors import BadRequest
from headway.console.errors import NotAllDone
from headway.control.audit import recorded
from headway.control.records import RolloutRecord
from headway.control.store import Control
from headway.deployer.rollout import requests as ask

MOST: Final = 300
"""Most dead letters of one request."""
REMEMBERED: Final = 60
"""Actions that are kept for display."""
_AT_ONCE: Final = 8

_log = logging.getLogger("headway.console")


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LetterActions(_Wanted):
    """Replay or discard dead letters, by their sequence numbers."""

    do: Literal["replay", "discard"]
    seqs: list[int] = Field(min_length=1, max_length=MOST)


class Release(_Wanted):
    """Steer the rollout of a service."""

    do: Literal["promote", "pause", "resume", "abort", "rollback"]
    service: str


Wanted = Annotated[LetterActions | Release, Field(discriminator="do")]
_wanted: TypeAdapter[LetterActions | Release] = TypeAdapter(Wanted)
_ASK: Final[Mapping[str, Callable[..., Awaitable[RolloutRecord]]]] = {
    "promote": ask.promote,
    "pause": ask.pause,
    "resume": ask.resume,
    "abort": ask.abort,
    "rollback": ask.rollback,
}
NEEDS_ADMIN: Final = frozenset({"discard"})
"""Actions that cannot be undone."""
_DONE: Final = {"replay": "replayed", "discard": "discarded"}


def parse(request: object) -> LetterActions | Release:
    """Parse the action that was requested.

    Raises:
        BadRequest: if there is no such action.
    """
    try:
        return _wanted.validate_python(request)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequest(f"this is not an action: {where}: {first['msg']}") from error


class Actions:
    """Performs the actions of operators.

    Args:
        bus: a connection in the role operator.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._control = Control(bus)
        self._objects = bus.records.tenant(CONSOLE).objects

    async def perform(self, wanted: LetterActions | Release, by: str) -> str:
        """Perform an action; return what was done, in words.

        Args:
            wanted: the action.
            by: name of the operator.

        Raises:
            HeadwayError: if it cannot be done. With several dead letters, the others are still processed.
        """
        try:
            async with recorded(self._bus, by, "console", wanted.do, wanted.model_dump(exclude={"do"})) as outcome:
                said = outcome.said = await self._done(wanted, by)
        except HeadwayError as error:
            await self._remember(wanted, by, error.message, ok=False)
            raise
        await self._remember(wanted, by, said, ok=True)
        return said

    async def _done(self, wanted: LetterActions | Release, by: str) -> str:
        if isinstance(wanted, LetterActions):
            return await self._letters(wanted)
        await self._control.refresh()
        record = await _ASK[wanted.do](self._control, wanted.service, by=by)
        return f"asked the deployer: {wanted.do} {wanted.service} {record.version}"

    async def _letters(self, wanted: LetterActions) -> str:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(seq: int) -> None:
            async with slots:
                letter = await dead.show(self._bus.js, seq)
                await (dead.replay if wanted.do == "replay" else dead.discard)(self._bus, letter)

        seqs = list(dict.fromkeys(wanted.seqs))
        outcomes = await asyncio.gather(*map(one, seqs), return_exceptions=True)
        failed = [error for error in outcomes if isinstance(error, BaseException)]
        done = f"{_DONE[wanted.do]} {len(seqs) - len(failed)} of {len(seqs)} dead letters"
        if not failed:
            return f"{_DONE[wanted.do]} dead letter {seqs[0]}" if len(seqs) == 1 else done
        first = failed[0]
        if not isinstance(first, HeadwayError) or len(seqs) == 1:
            raise first
        raise NotAllDone(f"{done}; the first failure: {first.message}", remedy=first.remedy) from first

    async def _remember(self, wanted: LetterActions | Release, by: str, said: str, *, ok: bool) -> None:
        """Log an action and its author, and store it as an object for the page."""
        _log.info("operator %s: %s", by, said, extra={"headway": {"operator": by, "ok": ok}})
        entry = {"at": round(time.time(), 3), "by": by, "do": wanted.do, "said": said, "ok": ok}
        try:
            await self._objects.put("action", unique_id(), entry)
            kept = await self._objects.list("action", dict)
            for old in kept[:-REMEMBERED]:
                await self._objects.delete("action", old.id)
        except HeadwayError as error:
            _log.warning("the action is in the log only: %s", error)
