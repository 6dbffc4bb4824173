"""Runs an installation in the foreground until Ctrl-C: what `headway up` and `headway dev` share."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click

from headway import extras
from headway.acting import person
from headway.broker.broker import Broker
from headway.broker.errors import PortInUse
from headway.broker.identity import KEY_FILE
from headway.broker.upgrade import upgrade
from headway.bus import tasks
from headway.bus.worker.worker import DEFAULT_GRACE
from headway.commands import options
from headway.commands.base import run
from headway.commands.console import address
from headway.config import Config
from headway.control.store import Control
from headway.endpoint import DIR_VARIABLE, credentials, default_directory, server_url
from headway.images import signing
from headway.installation import Installation
from headway.loglines import say
from headway.output import OutputStream, echo

_OTHER_PORT: Final = "stop what listens there, or choose another port: {option} 0 finds a free one"

Beside = Callable[[Installation, str | None], Coroutine[Any, Any, None]]
"""Runs beside an installation once it serves; gets it, and the console's address."""


def place(function: options.F) -> options.F:
    """Add the options that say where an installation runs, and how it starts and ends."""
    added = (
        options.file,
        click.option("--port", type=click.IntRange(0, 65535), help="Port of the server; 0 takes a free one."),
        click.option("--websocket-port", type=click.IntRange(0, 65535), help="Port for browsers; 0 takes a free one."),
        click.option("--web-port", type=click.IntRange(0, 65535), help="Port of the pages; 0 takes a free one."),
        click.option(
            "--dir",
            "directory",
            type=click.Path(path_type=Path),
            envvar=DIR_VARIABLE,
            help=f"Data directory.  [env: {DIR_VARIABLE}; default: `server.store` of the file, or .headway]",
        ),
        click.option(
            "--grace",
            type=float,
            default=DEFAULT_GRACE,
            show_default=True,
            help="Seconds to finish work in progress after Ctrl-C.",
        ),
        click.option(
            "--start-timeout",
            type=float,
            default=60.0,
            show_default=True,
            help="Seconds to wait until services serve.",
        ),
    )
    for option in reversed(added):
        function = option(function)
    return function


def placed(
    config: Config, *, port: int | None, websocket_port: int | None, web_port: int | None, directory: Path | None
) -> Config:
    """Return a configuration with the options of the command line applied."""
    given = {"port": port, "websocket_port": websocket_port, "store": None if directory is None else str(directory)}
    server = config.server.model_copy(update={name: value for name, value in given.items() if value is not None})
    web = config.web
    if web is not None and web_port is not None:
        web = web.model_copy(update={"port": web_port})
    return config.model_copy(update={"server": server, "web": web})


def serve(config: Config, *, grace: float, start_timeout: float, beside: Beside | None = None) -> int:
    """Run an installation until Ctrl-C; return the exit code.

    Args:
        config: the configuration.
        grace: seconds to finish work in progress at the end.
        start_timeout: seconds that the services have to serve.
        beside: runs once they do, such as the reloader.

    Raises:
        MissingExtra: if it serves pages and the extra `web` is not installed.
        PortInUse: with the option that chooses another port.
    """
    if config.web is not None:
        extras.check("web")
        _check_port(config.web.host, config.web.port)
    try:
        return run(_up(config, grace, start_timeout, beside))
    except PortInUse as error:
        option = "--websocket-port" if f":{config.server.websocket_port}" in error.message else "--port"
        raise PortInUse(error.message, remedy=_OTHER_PORT.format(option=option)) from error


def _check_port(host: str, port: int) -> None:
    """Refuse a used port for the pages before anything is started.

    Raises:
        PortInUse: with the option that chooses another port.
    """
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise PortInUse(message, remedy=_OTHER_PORT.format(option="--web-port")) from error


async def _up(config: Config, grace: float, start_timeout: float, beside: Beside | None) -> None:
    logging.basicConfig(stream=OutputStream(), level=logging.WARNING, format="%(levelname)s: %(message)s")
    stop, hurry, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    work = asyncio.ensure_future(_serve(config, grace, start_timeout, stop, hurry, ready, beside))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            echo("draining; Ctrl-C again hands unfinished work back at once", err=True)
            if not ready.is_set():
                work.cancel()
        await work
    except asyncio.CancelledError:
        if ready.is_set():
            raise
    finally:
        stopped.cancel()
    echo("stopped", err=True)


async def _serve(
    config: Config,
    grace: float,
    start_timeout: float,
    stop: asyncio.Event,
    hurry: asyncio.Event,
    ready: asyncio.Event,
    beside: Beside | None,
) -> None:
    for notice in (upgrade(Path(config.server.store)), signing.upgrade(Path(config.server.store))):
        if notice:
            echo(notice, err=True)
    external = _external(Path(config.server.store))
    echo(f"starting {'' if external else 'nats-server and '}{', '.join(config.services)} ...", err=True)
    async with Installation.start(
        config,
        say=say,
        start_timeout=start_timeout,
        grace=grace,
        hurry=hurry,
        external=external,
        warm=beside is not None,
    ) as running:
        elsewhere = "" if Path(config.server.store) == default_directory() else f" --dir {config.server.store}"
        served = ", ".join(f"{name} {service.version}" for name, service in config.services.items())
        echo(f"ready: {served} at {running.broker.url}")
        console = None
        if running.web_url is not None:
            echo(f"  pages: {running.web_url}")
            if config.web is not None and config.web.console:
                console = await address(Control(running.bus), running.web_url, person())
                echo(f"  console: {console}")
        echo(f'  next: headway status{elsewhere}    eval "$(headway env{elsewhere})"    nats micro ls')
        ready.set()
        if beside is None:
            await stop.wait()
            return
        async with asyncio.TaskGroup() as group:
            more = group.create_task(beside(running, console))
            await stop.wait()
            await tasks.end([more])


def _external(directory: Path) -> Broker | None:
    """Return the server that the environment names, with the keys of the installation or the credentials given."""
    url, creds = server_url(None), credentials(None)
    if url is None:
        return None
    if creds and not (directory / KEY_FILE).exists():
        return Broker.external(url, creds=creds)
    return Broker.external(url, dir=directory)
