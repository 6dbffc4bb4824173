"""The worker process: event loop, logs, telemetry, signals and exit code.

SIGTERM or SIGINT starts draining. A second signal, or the end of the grace period, hands unfinished work back at once.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import uvloop

from headway.bus.client.connection import connect
from headway.bus.client.ids import unique_id
from headway.bus.errors import ConnectionFailed, HeadwayError, UsageError
from headway.bus.service import Service
from headway.bus.telemetry import logs
from headway.bus.telemetry import otel as telemetry
from headway.bus.worker.worker import THREADS, Worker

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2

_COLLECT_AFTER: Final = 20_000
"""Threshold of the garbage collector: allocations minus deallocations that start a collection."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_RELEASE = 1.0
"""Seconds that remaining tasks have to finish after the worker has ended."""

_log = logging.getLogger("headway.bus")


def load(app: str) -> Service:
    """Import the service that `module:variable` names, with the working directory first on the path.

    Raises:
        UsageError: if there is no such module, variable or service.
    """
    module_name, _, variable = app.partition(":")
    if not module_name or not variable:
        raise UsageError(f"{app!r} names no service", remedy="write module:variable, such as headway.services.fax:fax")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{module_name} needs the module {error.name}, which is not installed", remedy="install it"
            ) from error
        raise UsageError(
            f"there is no module {module_name}", remedy=f"run it where {module_name} can be imported, not in {here}"
        ) from error
    service = getattr(module, variable, None)
    if not isinstance(service, Service):
        found = ", ".join(name for name, value in vars(module).items() if isinstance(value, Service))
        raise UsageError(
            f"{module_name} has no service {variable!r}",
            remedy=f"its services are: {found}" if found else "declare one with Service(...)",
        )
    return service


def main(
    app: str,
    version: str = "v1",
    *,
    url: str | None = None,
    creds: str | Path | None = None,
    config: dict[str, Any] | None = None,
    name: str | None = None,
    grace: float | None = None,
) -> int:
    """Run one worker in this process until a signal stops it.

    Args:
        app: the service, as `module:variable`.
        version: its version's label.
        url: URL of the server; `HEADWAY_NATS_URL` by default.
        creds: path of a credentials file; `HEADWAY_NATS_CREDS` by default.
        config: the version's frozen configuration.
        name: the worker's id; a random one by default.
        grace: seconds that work in progress has to finish; by default the longest timeout of its handlers.

    Returns:
        The exit code: 0 after draining, 1 if it could not start or lost its connection for good, 2 on wrong usage.
    """
    name = name or unique_id()
    logs.configure(os.environ.get("HEADWAY_LOG_LEVEL", "INFO").upper(), version=version, worker=name)
    try:
        service = load(app)
        logs.configure(
            os.environ.get("HEADWAY_LOG_LEVEL", "INFO").upper(), service=service.name, version=version, worker=name
        )
        telemetry.configure(service.name, version, name)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(_serve(service, version, url, creds, config, name, grace))
    except HeadwayError as error:
        _log.critical("%s", error, exc_info=error if os.environ.get("HEADWAY_DEBUG") else None)
        code = USAGE if isinstance(error, UsageError) else FAILED
    except Exception:
        _log.critical("the worker failed", exc_info=True)
        code = FAILED
    telemetry.shutdown()
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        _leave(code)
    return code


async def _serve(
    service: Service,
    version: str,
    url: str | None,
    creds: str | Path | None,
    config: dict[str, Any] | None,
    name: str,
    grace: float | None,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    worker: Worker | None = None

    def on_signal() -> None:
        if stop.is_set() and worker is not None:
            worker.hurry()
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    async with await connect(url, creds=creds, name=f"{service.name}-{version}-{name}") as bus:
        worker = Worker(service, bus, version=version, config=config, name=name, grace=grace)
        settle()
        await worker.run_until(stop)
        if not stop.is_set():
            raise ConnectionFailed("the server closed the connection for good")
    await _abandon()
    return OK


async def _abandon() -> None:
    """End the process even if handlers do not end: the loop would wait for them forever."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left and (await asyncio.wait(left, timeout=_RELEASE))[1]:
        _log.error("exiting although some handlers ignore their cancellation")
        telemetry.shutdown()
        _leave(OK)


def settle() -> None:
    """Configure the garbage collector for a worker.

    Objects that exist now stay, so collections skip them. Reference counting frees what messages allocate; with the
    default threshold of 700 objects, a collection would start every few messages.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _leave(code: int) -> None:
    """End the process even if a handler's thread does not end: the interpreter would wait for it forever."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
