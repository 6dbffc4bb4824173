"""Run a handler once, and handle every way in which it can end.

- An awaitable result is awaited: a decorator may have turned an `async def` handler into a plain function.
- A generator as result is a failure: none of it has run.
- A coroutine that was never awaited, such as `ctx.emit(...)` in a `def` handler, is a failure: its effect is missing.
- A thread cannot be cancelled. The caller decides whether to wait for one that has timed out.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, Final

from headway.bus.context import Context
from headway.bus.errors import UsageError
from headway.bus.handlers import Handler, Invoke
from headway.bus.worker.timeouts import Timed

_unawaited: Final[ContextVar[list[str] | None]] = ContextVar("headway_unawaited", default=None)
_settled_types: Final[set[type]] = {type(None)}
"""Types of results that are neither awaitables nor generators. A cache: inspecting a model's class is slow."""
_MAX_TYPES: Final = 1024


async def execute(item: Timed, handler: Handler, invoke: Invoke, value: Any, context: Context) -> Any:
    """Run a handler once and return its result.

    Args:
        item: the call or message being processed.
        handler: the handler.
        invoke: its `bind()`.
        value: the request.
        context: its second argument.

    Raises:
        UsageError: if the handler forgot to await something, or returned a generator.
        BaseException: any exception that the handler raised.
    """
    forgotten: list[str] = []
    _unawaited.set(forgotten)
    if handler.is_async:
        result = await invoke(value, context)
    else:
        result, error = await _in_thread(item, invoke(value, context))
        if error is not None:
            raise error
    if type(result) not in _settled_types:
        result = await _settled(result)
    if forgotten:
        names = ", ".join(sorted(set(forgotten)))
        raise UsageError(f"{context.operation} called {names} without awaiting it", remedy="await it in an `async def`")
    return result


async def _settled(result: Any) -> Any:
    """Await a result until it is no longer awaitable, and return it."""
    while hasattr(type(result), "__await__") and not inspect.isgenerator(result):
        result = await result
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise UsageError("the handler returned a generator, which has not run", remedy="return its result")
    if len(_settled_types) < _MAX_TYPES:
        _settled_types.add(type(result))
    return result


async def _in_thread(item: Timed, thread: Awaitable[Any]) -> Any:
    """Wait for a thread. If `item.waits`, keep waiting after the timeout."""
    item.thread = running = asyncio.ensure_future(thread)
    while True:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not item.waits or not item.timed_out or item.returned:
                raise
            task.uncancel()


def notice_forgotten() -> None:
    """Record each coroutine that is never awaited for the handler that created it.

    Python reports them through a function of the module `warnings`, which it looks up each time.
    """
    told = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]  # noqa: SLF001  # there is no public hook
    if getattr(told, "of_headway", False):
        return

    def note(coroutine: Any) -> None:
        forgotten = _unawaited.get()
        if forgotten is not None:
            forgotten.append(getattr(coroutine, "__qualname__", repr(coroutine)))
        told(coroutine)

    note.of_headway = True  # type: ignore[attr-defined]
    warnings._warn_unawaited_coroutine = note  # type: ignore[attr-defined]  # noqa: SLF001
