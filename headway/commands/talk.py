"""`headway call`, `submit` and `emit`: speak to services from the shell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from headway.bus.client.bus import CALL_TIMEOUT, STORE_TIMEOUT, Receipt
from headway.bus.errors import UsageError
from headway.cli import examples, run
from headway.endpoint import Endpoint, find, options

_PAYLOAD = click.argument("payload", default="null")
_TENANT = click.option("--tenant", required=True, help="For which tenant.")
_KEY = click.option("--key", help="Idempotency key: the same key is stored once.")


@click.command(epilog=examples('headway call fax status \'{"fax": "f1"}\' --tenant acme'))
@click.argument("service")
@click.argument("operation")
@_PAYLOAD
@_TENANT
@click.option("--timeout", type=float, default=CALL_TIMEOUT, show_default=True, help="Seconds to wait.")
@options
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
    return run(_call(find(url, creds, directory), service, operation, _read(payload), tenant, timeout))


@click.command(
    epilog=examples(
        'headway submit fax send \'{"fax": "f1", "to": "+4930123", "text": "Hi"}\' \\',
        "    --tenant acme --key f1",
    )
)
@click.argument("service")
@click.argument("operation")
@_PAYLOAD
@_TENANT
@_KEY
@click.option("--timeout", type=float, default=STORE_TIMEOUT, show_default=True, help="Seconds to go on trying.")
@options
def submit(
    *,
    service: str,
    operation: str,
    payload: str,
    tenant: str,
    key: str | None,
    timeout: float,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Submit a durable job; prints where it is stored.

    PAYLOAD is JSON, @FILE, or - for standard input.
    """
    return run(_submit(find(url, creds, directory), service, operation, _read(payload), tenant, key, timeout))


@click.command(epilog=examples('headway emit call.missed \'{"call": "c1", ...}\' --tenant acme'))
@click.argument("event_type")
@_PAYLOAD
@_TENANT
@_KEY
@click.option("--timeout", type=float, default=STORE_TIMEOUT, show_default=True, help="Seconds to go on trying.")
@options
def emit(
    *,
    event_type: str,
    payload: str,
    tenant: str,
    key: str | None,
    timeout: float,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Publish an event to all services that subscribe to its type.

    PAYLOAD is JSON, @FILE, or - for standard input.
    """
    return run(_emit(find(url, creds, directory), event_type, _read(payload), tenant, key, timeout))


async def _call(endpoint: Endpoint, service: str, operation: str, request: Any, tenant: str, timeout: float) -> None:
    async with await endpoint.connect("call") as bus:
        reply = await bus.call(service, operation, request, tenant=tenant, timeout=timeout)
    click.echo(orjson.dumps(reply, option=orjson.OPT_INDENT_2))


async def _submit(
    endpoint: Endpoint, service: str, operation: str, request: Any, tenant: str, key: str | None, timeout: float
) -> None:
    async with await endpoint.connect("submit") as bus:
        _say(await bus.submit(service, operation, request, tenant=tenant, key=key, timeout=timeout))


async def _emit(endpoint: Endpoint, event_type: str, event: Any, tenant: str, key: str | None, timeout: float) -> None:
    async with await endpoint.connect("emit") as bus:
        _say(await bus.emit(event_type, event, tenant=tenant, key=key, timeout=timeout))


def _say(receipt: Receipt) -> None:
    known = " (it was there already, by its key)" if receipt.duplicate else ""
    click.echo(f"stored in {receipt.stream} as {receipt.seq}{known}")


def _read(payload: str) -> Any:
    if payload == "-":
        source, text = "standard input", sys.stdin.buffer.read()
    elif payload.startswith("@"):
        source = payload[1:]
        try:
            text = Path(source).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {source}: {error.strerror}", remedy="name a readable file") from error
    else:
        source, text = "the payload", payload.encode()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{source} is not JSON: {error}", remedy='quote it: \'{"name": "Ada"}\'') from error
