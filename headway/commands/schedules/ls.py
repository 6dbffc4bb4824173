"""`headway schedules ls`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.control.records import PeriodicState
from headway.endpoint import ServerAccess, require
from headway.scheduler.ticks import next_tick
from headway.status import records


@click.command(epilog=examples("headway schedules ls", "headway schedules ls --service fax --json"))
@click.option("--service", help="Only this service's.")
@json_option
@options.server
def ls(*, service: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """List the periodic jobs of each service, as the version with the most traffic declares them.

    LAST is the time of the last run that was submitted; for a new job, when it became known.
    """
    return run(_ls(require(url, creds, directory), service, as_json=as_json))


async def _ls(endpoint: ServerAccess, service: str | None, *, as_json: bool) -> None:
    async with await endpoint.connect("schedules") as bus:
        found = (await records(bus)).schedules
    now = time.time()
    rows = [
        {"service": name, "version": record.version, **row(job, now)}
        for name, record in sorted(found.items())
        if service in {None, name}
        for _, job in sorted(record.jobs.items())
    ]
    if as_json:
        click.echo(orjson.dumps(rows).decode())
        return
    if not rows:
        click.echo("no periodic jobs: declare them with @service.cron or @service.every")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("SERVICE", "JOB", "WHEN", "MISSED", "LAST", "NEXT"):
        table.add_column(heading, no_wrap=True)
    for one in rows:
        cells = (one[key] for key in ("service", "name", "when", "missed", "last", "next"))
        table.add_row(*(str(cell or "-") for cell in cells))
    Console(highlight=False).print(table)


def row(state: PeriodicState, now: float) -> dict[str, Any]:
    """Return what is shown of a periodic job; times are in UTC.

    Args:
        state: the job and how far it is.
        now: unix seconds.
    """
    upcoming = None if state.paused else next_tick(state.job, now)
    return {
        "name": state.job.name,
        "when": state.job.when,
        "missed": state.job.missed,
        "last": _text(state.last),
        "next": "paused" if state.paused else _text(upcoming),
    }


def _text(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
