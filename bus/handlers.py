"""Handlers: their kind, types and policy, and one uniform way to invoke them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from headway.bus.errors import DeclarationError
from headway.bus.retry import Retry
from headway.bus.wire.codec import Codec

if TYPE_CHECKING:
    from headway.bus.context import Context

Invoke = Callable[[Any, "Context"], Awaitable[Any]]


class Kind(StrEnum):
    """What a handler handles: calls, jobs or events."""

    RPC = "rpc"
    JOB = "job"
    EVENT = "on"


@dataclass(frozen=True, slots=True)
class Handler:
    """One declared handler.

    Attributes:
        kind: rpc, job or on (event).
        name: the operation, or the event type.
        function: the function that was declared.
        input: codec of the request.
        output: codec of the reply; `None`'s for jobs and events.
        timeout: seconds one run may take.
        retry: the policy of jobs and events; a single attempt for calls, which their caller repeats.
        takes_context: whether the function has a second parameter.
        is_async: whether it is a coroutine function; others run in threads.
    """

    kind: Kind
    name: str
    function: Callable[..., Any]
    input: Codec[Any]
    output: Codec[Any]
    timeout: float
    retry: Retry
    takes_context: bool
    is_async: bool

    @property
    def doc(self) -> str:
        """The function's docstring, tidied."""
        return inspect.getdoc(self.function) or ""

    def bind(self, executor: Executor) -> Invoke:
        """Return a function of (value, context) that runs the handler.

        For an `async def` handler it returns the handler's own coroutine. Other handlers run in a thread of `executor`,
        and awaiting the function gives an `Outcome`.
        """
        function = self.function
        if self.is_async:
            if self.takes_context:
                return function
            return lambda value, _context: function(value)

        def in_thread(value: Any, context: Context) -> Awaitable[Outcome]:
            call = partial(function, value, context) if self.takes_context else partial(function, value)
            loop = asyncio.get_running_loop()
            return loop.run_in_executor(executor, contextvars.copy_context().run, _outcome, call)

        return in_thread


Outcome = tuple[Any, BaseException | None]
"""What a `def` handler returned, or raised."""


def _outcome(call: Callable[[], Any]) -> Outcome:
    """Call, and return the result or the exception: a future cannot carry every exception, such as StopIteration."""
    try:
        return call(), None
    except BaseException as error:
        return None, error


def declare(
    function: Callable[..., Any],
    *,
    kind: Kind,
    name: str,
    timeout: float,
    retry: Retry,
    namespace: Mapping[str, Any],
) -> Handler:
    """Read a handler's signature and build its codecs.

    Args:
        function: `(request)` or `(request, ctx)`, `async def` or `def`.
        kind: what it handles.
        name: operation or event type, already checked.
        timeout: seconds one run may take.
        retry: its retry policy.
        namespace: the locals around the decorator, which annotations may use in addition to the module's names.

    Raises:
        DeclarationError: if the signature or a type is not supported.
    """
    what = f"{kind.value} {name!r} ({getattr(function, '__qualname__', function)})"
    if any(map(inspect.isgeneratorfunction, _layers(function))) or any(
        map(inspect.isasyncgenfunction, _layers(function))
    ):
        raise DeclarationError(
            f"{what} is a generator: calling it would run nothing", remedy="return its result instead of yielding"
        )
    if timeout <= 0:
        raise DeclarationError(f"{what}: timeout={timeout}", remedy="give a timeout in seconds above 0")
    try:
        signature = inspect.signature(function, eval_str=True, locals=dict(namespace))
    except NameError as error:
        raise DeclarationError(
            f"{what}: annotation not found: {error}", remedy="import it at module level, not under TYPE_CHECKING"
        ) from error
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if positional != parameters or not 1 <= len(parameters) <= 2:
        raise DeclarationError(f"{what} takes {signature}", remedy="declare it as (request) or (request, ctx)")
    request = parameters[0]
    if request.annotation is inspect.Parameter.empty:
        raise DeclarationError(f"{what}: {request.name} has no type", remedy="annotate it; use None for no payload")
    returns = None if signature.return_annotation is inspect.Signature.empty else signature.return_annotation
    if kind is not Kind.RPC and returns is not None:
        raise DeclarationError(f"{what} returns {returns!r}", remedy="return None: jobs and events have no reply")
    return Handler(
        kind=kind,
        name=name,
        function=function,
        input=Codec(request.annotation),
        output=Codec(returns),
        timeout=float(timeout),
        retry=retry,
        takes_context=len(parameters) == 2,
        is_async=inspect.iscoroutinefunction(function),
    )


def _layers(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function and the functions that its decorators wrap (`functools.wraps`)."""
    seen: set[int] = set()
    layer: Any = function
    while layer is not None and id(layer) not in seen:
        seen.add(id(layer))
        yield layer
        layer = getattr(layer, "__wrapped__", None)
