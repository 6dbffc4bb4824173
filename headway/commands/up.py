"""`headway up`: run a server and services, from a file or named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway import config as configuration
from headway.bus.errors import UsageError
from headway.commands import foreground
from headway.commands.base import examples
from headway.config import Config, WebConfig
from headway.installation import for_apps


@click.command(
    epilog=examples(
        "headway up                        # as in headway.yaml",
        "headway up headway.services.fax:fax       # one service",
        "headway up hello:hello --console  # with the operator's console",
    )
)
@click.argument("apps", nargs=-1)
@foreground.place
@click.option("--workers", type=click.IntRange(1), help="Fixed number of workers of each of APPS.  [default: by load]")
@click.option("--version", default=configuration.DEFAULT_VERSION, show_default=True, help="Version of APPS.")
@click.option("--console", is_flag=True, help="Serve the operator's console beside APPS.")
def up(
    *,
    apps: tuple[str, ...],
    file: Path,
    workers: int | None,
    version: str,
    console: bool,
    grace: float,
    start_timeout: float,
    **place: Any,
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
    return foreground.serve(foreground.placed(config, **place), grace=grace, start_timeout=start_timeout)
