"""`headway rollout history`: the results of a service's rollouts, with reasons."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from headway import rollouts
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import read
from headway.control.store import Control
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway rollout history fax"))
@click.argument("service")
@json_option
@options.server
def history(*, service: str, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Show the rollouts of SERVICE, and each transition of the last one with its reason."""

    async def do(endpoint: ServerAccess) -> None:
        async with await endpoint.connect("history") as bus:
            record = await read(Control(bus), service)
        if as_json:
            click.echo(record.model_dump_json())
        else:
            Console(highlight=False).print(rollouts.past(record), Text(), rollouts.transitions(record))

    return run(do(require(url, creds, directory)))
