"""`headway up`: run a server and services, from a file or named on the command line."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path
from typing import Final

import click

from headway import config as configuration
from headway import extras
from headway.broker.broker import Broker
from headway.broker.errors import PortInUse
from headway.broker.identity import KEY_FILE
from headway.broker.upgrade import upgrade
from headway.bus.errors import UsageError
from headway.bus.worker.worker import DEFAULT_GRACE
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.console import address, person
from headway.config import Config, WebConfig
from headway.control.store import Control
from headway.endpoint import DIR_VARIABLE, credentials, default_directory, server_url
from headway.installation import Installation, for_apps
from headway.loglines import say
from headway.output import OutputStream, echo

_OTHER_PORT: Final = "stop what listens there, or choose another port: {option} 0 finds a free one"


@click.command(
    epilog=examples(
        "headway up                        # as in headway.yaml",
        "headway up headway.services.fax:fax       # one service",
        "headway up hello:hello --console  # with the operator's console",
    )
)
@click.argument("apps", nargs=-1)
@options.file
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the server; 0 takes a free one.")
@click.option("--websocket-port", type=click.IntRange(0, 65535), help="Port for browsers; 0 takes a free one.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    envvar=DIR_VARIABLE,
    help=f"Data directory.  [env: {DIR_VARIABLE}; default: `server.store` of the file, or .headway]",
)
@click.option("--workers", type=click.IntRange(1), help="Fixed number of workers of each of APPS.  [default: by load]")
@click.option("--version", default=configuration.DEFAULT_VERSION, show_default=True, help="Version of APPS.")
@click.option("--console", is_flag=True, help="Serve the operator's console beside APPS.")
@click.option("--web-port", type=click.IntRange(0, 65535), help="Port of the pages; 0 takes a free one.")
@click.option(
    "--grace",
    type=float,
    default=DEFAULT_GRACE,
    show_default=True,
    help="Seconds to finish work in progress after Ctrl-C.",
)
@click.option(
    "--start-timeout", type=float, default=60.0, show_default=True, help="Seconds to wait until services serve."
)
def up(
    *,
    apps: tuple[str, ...],
    file: Path,
    port: int | None,
    websocket_port: int | None,
    directory: Path | None,
    workers: int | None,
    version: str,
    console: bool,
    web_port: int | None,
    grace: float,
    start_timeout: float,
) -> int:
    """Start a server and services; Ctrl-C drains and stops them.

    Workers are started, stopped and replaced by load and health.

    With HEADWAY_NATS_URL set it uses that server instead of starting one. Workers get their own credentials, made
    with the keys in the data directory; without keys they share HEADWAY_NATS_CREDS, and routes stay as they are.
    """
    if apps:
        pages = WebConfig(dev_issuer=True) if console else None
        config = Config(services=for_apps(apps, workers, version), web=pages)
    else:
        config, _ = configuration.load(file)
        if console and (config.web is None or not config.web.console):
            raise UsageError(f"{file} serves no console", remedy="add `web:` to it, without `console: false`")
    server = config.server.model_copy(
        update={
            name: value
            for name, value in (
                ("port", port),
                ("websocket_port", websocket_port),
                ("store", str(directory) if directory else None),
            )
            if value is not None
        }
    )
    web = config.web
    if web is not None and web_port is not None:
        web = web.model_copy(update={"port": web_port})
    if web is not None:
        extras.check("web")
        _check_port(web.host, web.port)
    config = config.model_copy(update={"server": server, "web": web})
    try:
        return run(_up(config, grace, start_timeout))
    except PortInUse as error:
        option = "--websocket-port" if f":{server.websocket_port}" in error.message else "--port"
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


async def _up(config: Config, grace: float, start_timeout: float) -> None:
    logging.basicConfig(stream=OutputStream(), level=logging.WARNING, format="%(levelname)s: %(message)s")
    stop, hurry, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    work = asyncio.ensure_future(_serve(config, grace, start_timeout, stop, hurry, ready))
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
) -> None:
    if notice := upgrade(Path(config.server.store)):
        echo(notice, err=True)
    external = _external(Path(config.server.store))
    echo(f"starting {'' if external else 'nats-server and '}{', '.join(config.services)} ...", err=True)
    async with Installation.start(
        config, say=say, start_timeout=start_timeout, grace=grace, hurry=hurry, external=external
    ) as running:
        place = "" if Path(config.server.store) == default_directory() else f" --dir {config.server.store}"
        served = ", ".join(f"{name} {service.version}" for name, service in config.services.items())
        echo(f"ready: {served} at {running.broker.url}")
        if running.web_url is not None:
            echo(f"  pages: {running.web_url}")
            if config.web is not None and config.web.console:
                echo(f"  console: {await address(Control(running.bus), running.web_url, person())}")
        echo(f'  next: headway status{place}    eval "$(headway env{place})"    nats micro ls')
        ready.set()
        await stop.wait()


def _external(directory: Path) -> Broker | None:
    """Return the server that the environment names, with the keys of the installation or the credentials given."""
    url, creds = server_url(None), credentials(None)
    if url is None:
        return None
    if creds and not (directory / KEY_FILE).exists():
        return Broker.external(url, creds=creds)
    return Broker.external(url, dir=directory)
