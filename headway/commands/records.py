"""`headway records`: control records that cannot be read, and how they are mended."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from headway.cli import examples, run
from headway.control.store import Control
from headway.endpoint import Endpoint, options, require


@click.group(epilog=examples("headway records ls", "headway records mend version.fax.v1"))
def records() -> None:
    """List control records that cannot be read, and mend them.

    What such a record is about stays as it was: workers go on, releases stand still.
    """


@records.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the reason by key.")
@options
def ls(*, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """List the records that cannot be read, and why. Exit code 1 if there are any."""
    return run(_ls(require(url, creds, directory), as_json=as_json))


@records.command("mend")
@click.argument("keys", nargs=-1)
@options
def mend(*, keys: tuple[str, ...], url: str | None, creds: str | None, directory: Path) -> int:
    """Restore records from the copies that are kept of them; all that cannot be read, or those named.

    A record of the scaler is deleted: the scaler writes it anew.
    """
    return run(_mend(require(url, creds, directory), keys))


async def _ls(endpoint: Endpoint, *, as_json: bool) -> int:
    async with await endpoint.connect("records") as bus:
        control = Control(bus)
        await control.refresh()
    if as_json:
        click.echo(orjson.dumps(control.unreadable).decode())
    elif not control.unreadable:
        click.echo("all control records can be read")
    for key, why in sorted(control.unreadable.items() if not as_json else ()):
        click.echo(f"{key}: {why}")
    return 1 if control.unreadable else 0


async def _mend(endpoint: Endpoint, keys: tuple[str, ...]) -> None:
    async with await endpoint.connect("records") as bus:
        control = Control(bus)
        await control.refresh()
        for key in keys or sorted(control.unreadable):
            click.echo(f"{key}: {await control.mend(key)}")
        if not keys and not control.unreadable:
            click.echo("all control records can be read: nothing is to be mended")
