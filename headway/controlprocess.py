"""What all control processes share: JSON logs, telemetry if configured, and a clean end on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from headway.bus.telemetry import logs
from headway.bus.telemetry import otel as telemetry
from headway.output import OutputStream


@contextmanager
def running(name: str, **fixed: Any) -> Iterator[asyncio.Event]:
    """Set this process up as a control process; yield the event that is set when it must end.

    Args:
    name: its name, such as "scaler"; OpenTelemetry gets it as `headway-scaler`.
    fixed: fields of every log line.

    Raises:
    ConfigError: if telemetry is configured but not installed.
    """
    logs.configure(os.environ.get("HEADWAY_LOG_LEVEL", "INFO").upper(), **fixed)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(OutputStream())  # a stopped terminal must not stop the rounds
    telemetry.configure(f"headway-{name}", version("headway"), f"{socket.gethostname()}-{os.getpid()}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        telemetry.shutdown()
