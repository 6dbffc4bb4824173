"""`headway dev`: run a project while it is being written."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Any

import click

from headway import config as configuration
from headway import extras
from headway.commands import foreground
from headway.commands.base import examples
from headway.config import Config, WebConfig
from headway.installation import Installation, for_apps
from headway.loglines import say


@click.command(
    epilog=examples(
        "headway dev                       # as in headway.yaml",
        "headway dev hello:hello --open    # one service; opens the console in a browser",
    )
)
@click.argument("apps", nargs=-1)
@foreground.place
@click.option("--console/--no-console", default=True, show_default=True, help="Serve the operator's console.")
@click.option("--open", "open_", is_flag=True, help="Open the console in a browser.")
def dev(
    *,
    apps: tuple[str, ...],
    file: Path,
    console: bool,
    open_: bool,
    grace: float,
    start_timeout: float,
    **place: Any,
) -> int:
    """Start a server and services, and reload them when their files change.

    After an edit, workers with the new code take over from the former ones, which finish their work. Queued jobs
    stay. An edit that cannot be imported shows its error, and the former workers go on.
    """
    extras.check("control")
    since = time.time()
    file_read = None if apps else file
    if file_read is not None:
        config, _ = configuration.load(file_read)
    else:
        config = Config(services=for_apps(apps, None, configuration.DEFAULT_VERSION))
    if not console:
        config = config.model_copy(update={"web": None})
    elif config.web is None:
        config = config.model_copy(update={"web": WebConfig(dev_issuer=True)})

    async def beside(running: Installation, address: str | None) -> None:
        from headway.reload.reloader import Reloader

        if open_ and address is not None:
            webbrowser.open(address)
        await Reloader(running, say, file_read, since).run()

    config = foreground.placed(config, **place)
    return foreground.serve(config, grace=grace, start_timeout=start_timeout, beside=beside)
