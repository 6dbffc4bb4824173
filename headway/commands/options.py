"""Options shared by several commands. How they find a server is in headway/endpoint.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headway.endpoint import CONFIG_FILE, DEFAULT_DIR, DIR_VARIABLE, default_directory

F = TypeVar("F", bound=Callable[..., Any])

directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=default_directory,
    show_default=str(DEFAULT_DIR),
    envvar=DIR_VARIABLE,
    help=f"Data directory of the installation. [env: {DIR_VARIABLE}]",
)
creds = click.option("--creds", type=click.Path(dir_okay=False), help="Credentials file. [env: HEADWAY_NATS_CREDS]")
url = click.option("--url", help="Server. [env: HEADWAY_NATS_URL]")
tenant = click.option("--tenant", required=True, envvar="HEADWAY_TENANT", help="The tenant. [env: HEADWAY_TENANT]")
file = click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(path_type=Path),
    default=CONFIG_FILE,
    show_default=True,
    help="The configuration.",
)


def configuration(function: F) -> F:
    """Add --config and --set, the configuration of a version, to a command."""
    file = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The version's configuration, a JSON file.",
    )
    values = click.option(
        "--set",
        "values",
        multiple=True,
        metavar="KEY=VALUE",
        help="One value of the configuration; VALUE is JSON or plain text.",
    )
    return file(values(function))


def server(function: F) -> F:
    """Add --url, --creds and --dir to a command."""
    return url(creds(directory(function)))
