"""One who asks: what it asks and what comes of it is in the history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headway.bus.errors import HeadwayError, NotStored
from tests.zones.history import History, Type

T = TypeVar("T")

TICK = 0.05
STALL = 0.25
"""Seconds by which a tick must be late to be worth a line."""

DOUBTFUL = NotStored.code
"""The error of a write that may have been done all the same."""


class Client:
    """A process of the history.

    Attributes:
        name: of the process.
        stop: set when it shall come to an end.
    """

    def __init__(self, history: History, name: str, stop: asyncio.Event) -> None:
        self.name, self.stop = name, stop
        self._history = history

    async def ask(
        self, op: str, asked: dict[str, Any], work: Callable[[], Awaitable[T]], told: Callable[[T], dict[str, Any]]
    ) -> T | HeadwayError:
        """Ask once.

        Args:
            op: what.
            asked: written down before.
            work: does it.
            told: what of the answer is written down.

        Returns:
            the answer, or what was raised.
        """
        self._history.write(self.name, "invoke", op, asked)
        try:
            answer = await work()
        except HeadwayError as error:
            kind: Type = "info" if error.code == DOUBTFUL else "fail"
            self._history.write(self.name, kind, op, {"message": str(error)}, error.code)
            return error
        self._history.write(self.name, "ok", op, told(answer))
        return answer

    def saw(self, op: str, value: Any) -> None:
        """Write down what was not asked for."""
        self._history.write(self.name, "seen", op, value)

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it shall stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return


async def clock(client: Client) -> None:
    """Write down when this process did not run: who does not run notices nothing, and the machine may be busy."""
    while not client.stop.is_set():
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        late = time.monotonic() - due
        if late > STALL:
            client.saw("stall", {"seconds": late})
