"""Record what a command does in the audit log of the installation (control/audit.py)."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import click

from headway.bus.client.bus import Bus
from headway.control.audit import Outcome, recorded

_UNTOLD: Final = frozenset({"url", "creds", "directory", "as_json", "yes", "wait", "values", "config_file"})
"""Parameters that say nothing about the action, or may hold a secret."""


@asynccontextmanager
async def audited(
    bus: Bus, action: str | None = None, about: Mapping[str, Any] | None = None
) -> AsyncIterator[Outcome]:
    """Record the command that runs, and how it ends. It is refused if it cannot be recorded.

    A server whose streams an earlier version has made has no audit log; there the command runs with a note.

    Args:
        bus: a connection in the role operator.
        action: what is done; None for the words and parameters of the command.
        about: arguments.

    Raises:
        NotStored, ConnectionFailed: if it cannot be recorded.
    """
    context = click.get_current_context(silent=True)
    if action is None:
        assert context is not None  # without `action` it is called by a command
        action = context.command_path.partition(" ")[2]
        about = {name: _plain(value) for name, value in context.params.items() if value and name not in _UNTOLD}
    async with recorded(bus, person(), "cli", action, about, host=os.uname().nodename, missing=_note) as outcome:
        yield outcome


def person() -> str:
    """Return the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "operator"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (int, float)) else str(value)


def _note(why: str) -> None:
    click.echo(f"note: this is not in the audit log: {why}; `headway up` or `headway apply` makes it", err=True)
