"""`headway dead show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from headway.bus.client import dead as letters
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.dead.shared import plain
from headway.endpoint import ServerAccess, find
from headway.format import cut, visible

_SHOWN: Final = 2000
"""Characters of a payload."""


@click.command(epilog=examples("headway dead show 17"))
@click.argument("seq", type=int)
@options.server
def show(*, seq: int, url: str | None, creds: str | None, directory: Path) -> int:
    """Show one dead letter: cause, attempts, headers and payload."""
    return run(_show(find(url, creds, directory), seq))


async def _show(endpoint: ServerAccess, seq: int) -> None:
    async with await endpoint.connect("dead") as bus:
        letter = await letters.show(bus.js, seq)
    facts = plain(letter)
    payload = facts.pop("payload")
    for name, value in facts.items():
        if isinstance(value, dict):
            for header, text in value.items():
                click.echo(visible(f"{'header':<12} {header}: {text}"))
        elif value != "":
            click.echo(visible(f"{name:<12} {value}"))
    text = payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)
    click.echo("\n" + visible(cut(text, _SHOWN), lines=True))
