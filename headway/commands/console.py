"""`headway console`: the address of the operator's page, with a code that lets one person sign in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headway.acting import audited, person
from headway.commands import options
from headway.commands.base import examples, run
from headway.control.store import Control
from headway.endpoint import ServerAccess, pages_url, require

if TYPE_CHECKING:
    from headway.console.access import Role


@click.command(
    epilog=examples("headway console", "docker-compose exec web headway console --web-url http://localhost:8480")
)
@click.option("--web-url", help="Address of the pages.  [default: where `headway up` or `headway web` serves them]")
@click.option("--name", help="Name recorded with actions in the console.  [default: your user name]")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="admin",
    show_default=True,
    help="What its user may do: see; replay and steer; discard, too.",
)
@options.server
def console(
    *, web_url: str | None, name: str | None, role: Role, url: str | None, creds: str | None, directory: Path
) -> int:
    """Print the address of the operator's page. It lets one browser sign in, once, within an hour.

    It needs an operator's credentials, like all commands that change something.
    """
    endpoint = require(url, creds, directory)
    return run(_console(endpoint, pages_url(web_url, directory), name or person(), role))


async def _console(endpoint: ServerAccess, web_url: str, name: str, role: Role) -> None:
    async with await endpoint.connect("console") as bus, audited(bus):
        click.echo(await address(Control(bus), web_url, name, role))


async def address(control: Control, web_url: str, by: str, role: Role = "admin") -> str:
    """Return the address of the console. Its code follows the `#`, which browsers do not send.

    Args:
        control: the records.
        web_url: of `headway web`.
        by: name of the person who will use it.
        role: what that person may do.

    Raises:
        MissingStream, NotStored: if the code cannot be stored.
    """
    from headway.console.access import Access

    return f"{web_url.rstrip('/')}/console/#code={await Access(control).code(by, role=role)}"
