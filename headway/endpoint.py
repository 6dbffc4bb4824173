"""How a command finds its server: options, environment, or what `headway up` left in its directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from pydantic import BaseModel, ValidationError

from headway.bus.client.bus import Bus
from headway.bus.client.connection import DEFAULT_URL, connect
from headway.bus.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

RUNNING_FILE: Final = "running.json"
DEFAULT_DIR: Final = Path(".headway")
_TIMEOUT: Final = 2.0
"""Seconds to connect: somebody waits at the terminal."""


class Running(BaseModel):
    """What `headway up` says of itself in `<dir>/running.json` while it runs.

    Attributes:
        url: where clients connect.
        ws_url: where browsers connect.
        pid: the process of `headway up`.
        creds: the operator's credentials file.
        web_url: where browsers find the pages; None without any.
    """

    url: str
    ws_url: str | None
    pid: int
    creds: str
    web_url: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and the credentials to use there.

    Attributes:
        url: of the server.
        creds: path of the credentials; None for a server without accounts.
        running: what `headway up` left, if it was found by that.
    """

    url: str
    creds: str | None
    running: Running | None = None

    async def connect(self, name: str) -> Bus:
        """Connect; raises as `bus.connect`."""
        return await connect(self.url, creds=self.creds, name=f"headway-{name}", timeout=_TIMEOUT)


def read_running(directory: Path) -> Running | None:
    """What `headway up` left in its directory; None if it does not run."""
    try:
        found = Running.model_validate_json((directory / RUNNING_FILE).read_bytes())
        os.kill(found.pid, 0)
    except (FileNotFoundError, NotADirectoryError, ValidationError, ProcessLookupError):
        return None
    except PermissionError:
        pass  # it lives, under another user
    return found


def find(url: str | None, creds: str | None, directory: Path) -> Endpoint:
    """Decide which server to use: options first, then the environment, then `headway up`, then the default address."""
    url = url or os.environ.get("HEADWAY_NATS_URL")
    creds = creds or os.environ.get("HEADWAY_NATS_CREDS")
    if url:
        return Endpoint(url, creds)
    running = read_running(directory)
    if running is not None:
        return Endpoint(running.url, creds or running.creds, running)
    return Endpoint(DEFAULT_URL, creds)


def require(url: str | None, creds: str | None, directory: Path) -> Endpoint:
    """As `find`, but nothing is assumed.

    Raises:
        UsageError: if no server is named and none runs here.
    """
    found = find(url, creds, directory)
    if found.running is None and not (url or os.environ.get("HEADWAY_NATS_URL")):
        raise UsageError(
            f"`headway up` does not run here (no {directory / RUNNING_FILE})",
            remedy="start it in this folder, name its --dir, or set HEADWAY_NATS_URL and HEADWAY_NATS_CREDS",
        )
    return found


def options(function: F) -> F:
    """Add --url, --creds and --dir to a command."""
    for option in (
        click.option(
            "--dir",
            "directory",
            type=click.Path(path_type=Path),
            default=DEFAULT_DIR,
            show_default=True,
            envvar="HEADWAY_DIR",
            help="Data directory of `headway up`. [env: HEADWAY_DIR]",
        ),
        click.option("--creds", type=click.Path(dir_okay=False), help="Credentials file. [env: HEADWAY_NATS_CREDS]"),
        click.option("--url", help="Server. [env: HEADWAY_NATS_URL]"),
    ):
        function = option(function)
    return function
