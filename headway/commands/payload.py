"""What `call`, `submit` and `emit` share: the payload, the idempotency key, the receipt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from headway.bus.client.bus import STORE_TIMEOUT, Receipt
from headway.bus.errors import UsageError

payload_argument = click.argument("payload", default="null")
key_option = click.option("--key", help="Idempotency key: the same key is stored once.")
timeout_option = click.option(
    "--timeout", type=float, default=STORE_TIMEOUT, show_default=True, help="Time limit in seconds, retries included."
)
check_option = click.option(
    "--check/--no-check", default=True, show_default=True, help="Check the payload against the workers' schemas."
)


def read(payload: str) -> Any:
    """Return the value of a payload: JSON, `@FILE`, or `-` for standard input.

    Raises:
        UsageError: if it cannot be read or is not JSON.
    """
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


def tell(receipt: Receipt) -> None:
    """Print where a message was stored."""
    known = " (stored earlier with the same key)" if receipt.duplicate else ""
    click.echo(f"stored in {receipt.stream} as {receipt.seq}{known}")
