"""Commands that send one request to the running rollout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from headway.acting import audited
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import answer
from headway.control.records import RolloutRecord
from headway.control.store import Control
from headway.endpoint import ServerAccess, require


def steering(
    name: str, summary: str, doing: str, request: Callable[[Control, str], Awaitable[RolloutRecord]]
) -> click.Command:
    """Return a command that sends one request to the rollout of a service.

    Args:
        name: name of the command.
        summary: its help.
        doing: text printed before service and version.
        request: writes the request into the rollout's record.
    """

    @click.command(name, help=summary, epilog=examples(f"headway rollout {name} fax"))
    @click.argument("service")
    @json_option
    @options.server
    def command(*, service: str, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
        async def do(endpoint: ServerAccess) -> int:
            async with await endpoint.connect(name) as bus:
                control = Control(bus)
                async with audited(bus):
                    record = await request(control, service)
                if not as_json:
                    click.echo(f"{doing} {service} {record.version}")
                return await answer(control, record, as_json=as_json)

        return run(do(require(url, creds, directory)))

    return command
