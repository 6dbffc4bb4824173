"""`headway submit`: submit a durable job from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway import published
from headway.bus.errors import NotServed
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.payload import check_option, key_option, payload_argument, read, tell, timeout_option
from headway.endpoint import ServerAccess, find


@click.command(
    epilog=examples(
        'headway submit fax send \'{"fax": "f1", "to": "+4930123", "text": "Hi"}\' \\',
        "    --tenant acme --key f1",
    )
)
@click.argument("service")
@click.argument("operation")
@payload_argument
@options.tenant
@key_option
@timeout_option
@check_option
@options.server
def submit(
    *,
    service: str,
    operation: str,
    payload: str,
    tenant: str,
    key: str | None,
    timeout: float,
    check: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Submit a durable job, and print where it is stored.

    A job that no running version accepts is refused, since it would become a dead letter. --no-check stores it for a
    version that is deployed later.

    PAYLOAD is JSON, @FILE, or - for standard input.
    """
    return run(
        _submit(find(url, creds, directory), service, operation, read(payload), tenant, key, timeout, check=check)
    )


async def _submit(
    endpoint: ServerAccess,
    service: str,
    operation: str,
    request: Any,
    tenant: str,
    key: str | None,
    timeout: float,
    *,
    check: bool,
) -> None:
    async with await endpoint.connect("submit") as bus:
        checked = not check or await published.check_job(bus, service, operation, request)
        try:
            tell(await bus.submit(service, operation, request, tenant=tenant, key=key, timeout=timeout))
        except NotServed as error:
            raise await published.explain(bus, error, service, operation, "job") from error
    if not checked:
        click.echo(f"note: not checked, since no worker of {service} answered", err=True)
