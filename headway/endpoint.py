"""Where an installation is: its data directory, its server, the credentials to use and its pages.

This module decides it for every command. The first match wins:

    directory     --dir, HEADWAY_DIR, `server.store` of ./headway.yaml, .headway
    server        --url, HEADWAY_NATS_URL, what `headway up` runs in the directory, nats://127.0.0.1:4222
    credentials   --creds, HEADWAY_NATS_CREDS, the operator's of that `headway up`
    pages         --web-url, what `headway up` or `headway web` serves from the directory
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from headway.bus.client.bus import Bus
from headway.bus.client.connection import DEFAULT_URL, connect
from headway.bus.errors import ConnectionFailed, UsageError

RUNNING_FILE: Final = "running.json"
WEB_FILE: Final = "web.json"
DEFAULT_DIR: Final = Path(".headway")
CONFIG_FILE: Final = Path("headway.yaml")
DIR_VARIABLE: Final = "HEADWAY_DIR"
URL_VARIABLE: Final = "HEADWAY_NATS_URL"
CREDS_VARIABLE: Final = "HEADWAY_NATS_CREDS"
_TIMEOUT: Final = 2.0
"""Seconds to connect: a person waits at the terminal."""


class Running(BaseModel):
    """What `headway up` publishes in `<dir>/running.json` while it runs.

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


class Web(BaseModel):
    """What `headway web` publishes in `<dir>/web.json` while it runs.

    Attributes:
        url: where browsers find the pages.
        pid: its process.
    """

    url: str
    pid: int


M = TypeVar("M", Running, Web)


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """A server, and the credentials to use there.

    Attributes:
        url: of the server.
        creds: path of the credentials; None for a server without accounts.
        running: the `headway up` that started this server from the data directory; None if there is none.
    """

    url: str
    creds: str | None
    running: Running | None = None

    async def connect(self, name: str) -> Bus:
        """Connect to the server.

        Args:
            name: of the command, shown by the server.

        Raises:
            ConnectionFailed, UsageError: as `headway.bus.connect`. The remedy names the command or option to use.
        """
        try:
            return await connect(self.url, creds=self.creds, name=f"headway-{name}", timeout=_TIMEOUT)
        except ConnectionFailed as error:
            if self.running is None and name == "status":  # the usual remedy, `headway status`, would not help here
                remedy = f"start one with `headway up`, or name the server with --url or {URL_VARIABLE}"
                raise ConnectionFailed(error.message, remedy=remedy) from error
            raise


def default_directory() -> Path:
    """Return `server.store` of the `headway.yaml` in this folder, or `.headway`."""
    try:
        text = CONFIG_FILE.read_text(encoding="utf-8")
        if "store" not in text:  # the usual case needs no YAML parser
            return DEFAULT_DIR
        import yaml
    except (ImportError, OSError, ValueError):
        return DEFAULT_DIR
    try:
        return Path(yaml.safe_load(text)["server"]["store"])
    except (yaml.YAMLError, KeyError, TypeError):
        return DEFAULT_DIR  # missing or invalid: `headway up` reports it


def server_url(url: str | None) -> str | None:
    """Return the server from the option or the environment; None without either."""
    return url or os.environ.get(URL_VARIABLE) or None


def credentials(creds: str | None) -> str | None:
    """Return the credentials file from the option or the environment; None without either."""
    return creds or os.environ.get(CREDS_VARIABLE) or None


def read_running(directory: Path) -> Running | None:
    """Return what `headway up` has published in its directory; None if it is not running."""
    return _living(directory / RUNNING_FILE, Running)


def find(url: str | None, creds: str | None, directory: Path) -> ServerAccess:
    """Return the server to use: options first, then the environment, then `headway up`, then the default address.

    Args:
        url: value of the command's option.
        creds: value of the command's option.
        directory: the data directory.
    """
    named, creds = server_url(url), credentials(creds)
    running = read_running(directory)
    if named is not None:
        return ServerAccess(named, creds, running if running is not None and running.url == named else None)
    if running is not None:
        return ServerAccess(running.url, creds or running.creds, running)
    return ServerAccess(DEFAULT_URL, creds)


def require(url: str | None, creds: str | None, directory: Path) -> ServerAccess:
    """Return the server as `find` does, without falling back to the default address.

    Raises:
        UsageError: if no server is given and none runs here.
    """
    found = find(url, creds, directory)
    if found.running is None and server_url(url) is None:
        raise UsageError(
            f"`headway up` does not run here (no {directory / RUNNING_FILE})",
            remedy=f"start it in this folder, give its --dir, or set {URL_VARIABLE} and {CREDS_VARIABLE}",
        )
    return found


def pages_url(web_url: str | None, directory: Path) -> str:
    """Return where browsers find the pages.

    Args:
        web_url: value of the option.
        directory: the data directory.

    Raises:
        UsageError: if it is not given, and nothing serves pages from this directory.
    """
    web = _living(directory / WEB_FILE, Web)
    running = read_running(directory)
    found = web_url or (running.web_url if running else None) or (web.url if web else None)
    if found is None:
        raise UsageError(
            f"nothing serves pages from {directory}",
            remedy="start `headway up --console` or `headway web`, or give the address with --web-url",
        )
    return found


@contextmanager
def announced(directory: Path, url: str) -> Iterator[None]:
    """Publish the pages' address for other commands while the block runs. Errors of writing are ignored."""
    file, text = directory / WEB_FILE, Web(url=url, pid=os.getpid()).model_dump_json()
    try:
        file.write_text(text, encoding="utf-8")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        if file.exists() and file.read_text(encoding="utf-8") == text:  # another process may have replaced it
            file.unlink(missing_ok=True)


def _living(file: Path, model: type[M]) -> M | None:
    """Read what a process published; None without anything, or if the process has ended."""
    try:
        found = model.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is alive, under another user
    return found
