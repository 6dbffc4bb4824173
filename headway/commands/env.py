"""`headway env`: environment variables with which the `nats` CLI and other programs find the running installation."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from headway.bus.client.connection import creds_text
from headway.bus.client.ids import MessageIds
from headway.commands import options
from headway.commands.base import examples
from headway.endpoint import require


@click.command(
    epilog=examples(
        'eval "$(headway env)"',
        'nats req rpc.fax.acme.status \'{"fax": "f1"}\'',
    )
)
@options.server
def env(*, url: str | None, creds: str | None, directory: Path) -> int:
    """Print exports for the nats CLI and for programs that use `bus.connect()`.

    HEADWAY_ID_PREFIX is a secret text to put before message ids of your own, so that other tenants cannot guess them:
    nats pub job.fax.acme.send '{}' -H "Nats-Msg-Id:$HEADWAY_ID_PREFIX.order-17"
    """
    found = require(url, creds, directory)
    values = {"HEADWAY_NATS_URL": found.url, "NATS_URL": found.url}
    if found.creds:
        path = str(Path(found.creds).resolve())
        ids = MessageIds.of(creds_text(path))
        values |= {"HEADWAY_NATS_CREDS": path, "NATS_CREDS": path, "HEADWAY_ID_PREFIX": ids.prefix}
    for name, value in values.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    return 0
