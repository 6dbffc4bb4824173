"""`headway rollout watch`: follow a rollout live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from headway import rollouts
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.rollout.answer import POLL, read
from headway.control.store import Control
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway rollout watch fax"))
@click.argument("service")
@options.server
def watch(*, service: str, url: str | None, creds: str | None, directory: Path) -> int:
    """Follow the rollout of SERVICE until it ends, or Ctrl-C. Exits with 1 if it was rolled back."""
    return run(_watch(require(url, creds, directory), service))


async def _watch(endpoint: ServerAccess, service: str) -> int:
    async with await endpoint.connect("watch") as bus:
        control = Control(bus)
        record = await read(control, service)
        with Live(Text(""), console=Console(highlight=False), auto_refresh=False) as screen:
            while True:
                await control.refresh()
                versions = {v: one for (of, v), one in control.versions.items() if of == service}
                scales = {v: one for (of, v), one in control.scales.items() if of == service}
                record = await read(control, service)
                screen.update(rollouts.live(record, versions, scales), refresh=True)
                if record.over:
                    return int(record.phase != "done")
                await asyncio.sleep(POLL)
