"""`headway submit`: submit a durable job from the shell."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from headway import published
from headway.bus.errors import NotServed, UsageError
from headway.commands import options
from headway.commands.base import examples, run
from headway.commands.payload import check_option, key_option, payload_argument, read, tell, timeout_option
from headway.endpoint import ServerAccess, find

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@click.command(
    epilog=examples(
        'headway submit fax send \'{"fax": "f1", "to": "+4930123", "text": "Hi"}\' \\',
        "    --tenant acme --key f1",
        "headway submit fax send @fax.json --tenant acme --delay 2h",
    )
)
@click.argument("service")
@click.argument("operation")
@payload_argument
@options.tenant
@key_option
@click.option("--delay", metavar="DURATION", help="Submit it later: after 90s, 5m, 2h or 1d.")
@click.option("--at", metavar="TIME", help="Submit it at a time such as 2027-01-31T08:00+01:00 or ...T07:00Z.")
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
    delay: str | None,
    at: str | None,
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
    when = due(delay, at)
    return run(
        _submit(find(url, creds, directory), service, operation, read(payload), tenant, key, timeout, when, check=check)
    )


def due(delay: str | None, at: str | None) -> dict[str, Any]:
    """Return the arguments of `submit` that say when the job is due.

    Raises:
        UsageError: if both are given or one cannot be read.
    """
    if delay is not None and at is not None:
        raise UsageError("--delay and --at exclude each other", remedy="give one of them")
    if delay is not None:
        return {"delay": _seconds(delay)}
    if at is None:
        return {}
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(f"--at {at} is not a time", remedy="write one such as 2027-01-31T08:00+01:00") from None
    if time.tzinfo is None:
        raise UsageError(f"--at {at} has no time zone", remedy=f"add one: {at}Z or {at}+01:00")
    return {"at": time}


def _seconds(text: str) -> float:
    """Return the seconds of a duration such as 90, 90s, 5m, 2h or 1d.

    Raises:
        UsageError: if it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text.strip())
    if found is None:
        raise UsageError(f"--delay {text} is not a duration", remedy="write 90s, 5m, 2h, 1d or a number of seconds")
    return float(found[1]) * _UNITS[found[2] or "s"]


async def _submit(
    endpoint: ServerAccess,
    service: str,
    operation: str,
    request: Any,
    tenant: str,
    key: str | None,
    timeout: float,
    when: dict[str, Any],
    *,
    check: bool,
) -> None:
    async with await endpoint.connect("submit") as bus:
        checked = not check or await published.check_job(bus, service, operation, request)
        try:
            tell(await bus.submit(service, operation, request, tenant=tenant, key=key, timeout=timeout, **when))
        except NotServed as error:
            raise await published.explain(bus, error, service, operation, "job") from error
    if not checked:
        click.echo(f"note: not checked, since no worker of {service} answered", err=True)
