"""`headway call`: call an operation from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from headway import published
from headway.bus.client.bus import CALL_TIMEOUT
from headway.bus.errors import InvalidInput, NotServed
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.payload import payload_argument, read
from headway.endpoint import ServerAccess, find


@click.command(epilog=examples('headway call fax status \'{"fax": "f1"}\' --tenant acme'))
@click.argument("service")
@click.argument("operation")
@payload_argument
@options.tenant
@click.option("--timeout", type=float, default=CALL_TIMEOUT, show_default=True, help="Seconds to wait.")
@options.server
def call(
    *,
    service: str,
    operation: str,
    payload: str,
    tenant: str,
    timeout: float,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Call an operation and print its reply as JSON.

    PAYLOAD is JSON, @FILE, or - for standard input.
    """
    return run(_call(find(url, creds, directory), service, operation, read(payload), tenant, timeout))


async def _call(
    endpoint: ServerAccess, service: str, operation: str, request: Any, tenant: str, timeout: float
) -> None:
    async with await endpoint.connect("call") as bus:
        try:
            reply = await bus.call(service, operation, request, tenant=tenant, timeout=timeout)
        except NotServed as error:
            raise await published.explain(bus, error, service, operation, "rpc") from error
        except InvalidInput as error:
            raise await published.explain_input(bus, error, service, operation, request) from error
    click.echo(orjson.dumps(reply, option=orjson.OPT_INDENT_2))
