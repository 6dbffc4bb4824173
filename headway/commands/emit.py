"""`headway emit`: publish an event from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway import published
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.payload import check_option, key_option, payload_argument, read, tell, timeout_option
from headway.endpoint import ServerAccess, find


@click.command(epilog=examples('headway emit call.missed \'{"call": "c1", ...}\' --tenant acme'))
@click.argument("event_type")
@payload_argument
@options.tenant
@key_option
@timeout_option
@check_option
@options.server
def emit(
    *,
    event_type: str,
    payload: str,
    tenant: str,
    key: str | None,
    timeout: float,
    check: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Publish an event to all services that subscribe to its type.

    PAYLOAD is JSON, @FILE, or - for standard input.
    """
    return run(_emit(find(url, creds, directory), event_type, read(payload), tenant, key, timeout, check=check))


async def _emit(
    endpoint: ServerAccess, event_type: str, event: Any, tenant: str, key: str | None, timeout: float, *, check: bool
) -> None:
    async with await endpoint.connect("emit") as bus:
        heard = not check or await published.check_event(bus, event_type, event)
        tell(await bus.emit(event_type, event, tenant=tenant, key=key, timeout=timeout))
    if not heard:
        click.echo(f"note: no running worker subscribes to {event_type}", err=True)
