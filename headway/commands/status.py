"""`headway status`: the installation as a table, as JSON, or as a live screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.broker.broker import Broker
from headway.broker.routes import anywhere
from headway.bus.client.bus import Bus
from headway.bus.errors import BrokerError
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.endpoint import ServerAccess, find
from headway.format import counted, milliseconds, short, visible
from headway.loglines import readable
from headway.status import Status, StatusRow, dead_letters, later, listen, queues, records, summarise

FAILING: Final = 0.05
"""Share of failures since the workers' start above which a version is unwell."""
FEW: Final = 3
"""Failures that may be chance."""
STUCK: Final = 60.0
"""Seconds of one piece of work, with more waiting, after which a queue looks stuck."""
_TREE: Final = "* the working tree as it is now, not an image: going back to it is not going back to what ran"
_SHOWN: Final = 4
"""Lines of a dead worker's output below the table; `--json` has more."""


@click.command(
    epilog=examples(
        "headway status",
        "headway status --json",
    )
)
@json_option
@click.option("--watch", "-w", is_flag=True, help="Update it live until Ctrl-C.")
@options.server
def status(*, as_json: bool, watch: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Show each version's weight, workers, queue and latencies, and the dead letters.

    It listens to the workers' heartbeats for about a second.
    """
    return run(_status(find(url, creds, directory), directory, as_json=as_json, watch=watch))


async def _status(endpoint: ServerAccess, directory: Path, *, as_json: bool, watch: bool) -> None:
    async with await endpoint.connect("status") as bus:
        if watch and not as_json:
            await _watch(bus, endpoint, directory)
            return
        while True:
            found = await _collect(bus, endpoint, directory)
            if as_json:
                click.echo(found.model_dump_json())
            else:
                Console(highlight=False).print(render(found))
            if not watch:
                return


async def _watch(bus: Bus, endpoint: ServerAccess, directory: Path) -> None:
    done: dict[tuple[str, str], int] = {}
    at = time.monotonic()
    with Live(Text("listening ..."), console=Console(highlight=False), auto_refresh=False, screen=False) as screen:
        while True:
            found = await _collect(bus, endpoint, directory)
            now = time.monotonic()
            rates = {
                (row.service, row.version): max(0.0, (row.processed - done[row.service, row.version]) / (now - at))
                for row in found.rows
                if (row.service, row.version) in done
            }
            done = {(row.service, row.version): row.processed for row in found.rows}
            at = now
            screen.update(render(found, rates), refresh=True)


async def _collect(bus: Bus, endpoint: ServerAccess, directory: Path) -> Status:
    beats, waiting, dead, delayed, weights, wanted = await asyncio.gather(
        listen(bus), queues(bus), dead_letters(bus), later(bus), _routes(endpoint, directory), records(bus)
    )
    return summarise(
        endpoint.url, beats, waiting, weights, dead, wanted.scales, wanted.unreadable, wanted.versions, delayed
    )


async def _routes(endpoint: ServerAccess, directory: Path) -> Mapping[str, Mapping[str, int]] | None:
    """Return the routes; None without the keys of the installation."""
    if not (directory / "keys.json").exists():
        return None
    broker = Broker.external(endpoint.url, dir=directory)
    try:
        return anywhere(await broker.routes())
    except BrokerError:
        return None
    finally:
        await broker.close()


def render(found: Status, rates: Mapping[tuple[str, str], float] | None = None) -> Group:
    """Return a table that fits 80 columns, with the dead letters below it.

    Args:
        found: what to show.
        rates: messages per second by service and version, shown instead of the totals.
    """
    table = Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1))
    table.add_column("SERVICE", no_wrap=True, max_width=14)
    table.add_column("VER", no_wrap=True, max_width=8)
    last = "DONE" if rates is None else "PER S"
    for heading in ("SHARE", "WORKERS", "WAIT", "IN HAND", "OLDEST", last, "FAILED", "P50", "P95"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        unwell = f" ({row.unhealthy} sick)" if row.unhealthy else ""
        wanted = "" if row.desired in {None, row.workers} else f"/{row.desired}"
        rate = None if rates is None else rates.get((row.service, row.version), 0.0)
        table.add_row(
            row.service,
            f"{row.version}*" if _is_tree_beside_images(row, found) else row.version,
            "-" if row.weight is None else f"{row.weight}%",
            f"{row.workers}{wanted}{unwell}",
            "-" if row.waiting is None else short(row.waiting),
            short(row.in_hand),
            f"{row.oldest_s:.1f}s" if row.in_hand else "-",
            short(row.processed) if rate is None else f"{rate:.0f}",
            short(row.failed),
            milliseconds(row.p50_ms),
            milliseconds(row.p95_ms),
            style="red" if problem(row) else "",
        )
    if not found.rows:
        return Group(Text(f"nothing runs at {found.url}: no worker sends heartbeats, and there are no routes"))
    letters = ", ".join(f"{service} {count}" for service, count in found.dead.items())
    below = Text(f"dead letters: {letters} (see `headway dead ls`)" if letters else "no dead letters", style="dim")
    if found.later:
        below.append("\njobs for later: " + ", ".join(f"{service} {count}" for service, count in found.later.items()))
    above = _headline(found)
    told = (line for row in found.rows for line in _trouble(row))
    damaged = (f"control record {key} cannot be read: headway records mend {key}" for key in found.unreadable)
    troubles = [Text(visible(line), style="red", no_wrap=True, overflow="ellipsis") for line in (*told, *damaged)]
    marked = any(_is_tree_beside_images(row, found) for row in found.rows)
    notes = [Text(_TREE, style="dim")] if marked else []
    return Group(above, table, *troubles, *notes, below)


def _is_tree_beside_images(row: StatusRow, found: Status) -> bool:
    """Return whether a version is a working tree although others of its service are images."""
    return row.tree and any(one.service == row.service and not one.tree for one in found.rows)


def _headline(found: Status) -> Text:
    """Return one line: what is wrong and where to look, or that nothing is."""
    where = f"{found.url}  {datetime.now().astimezone():%H:%M:%S}  "
    line = Text(where, style="dim", no_wrap=True, overflow="ellipsis")
    bad = [f"{row.service} {row.version}: {why}" for row in found.rows if (why := problem(row))]
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        return line.append(f"{bad[0]}{more}", style="bold red")
    if found.unreadable:
        return line.append("control records cannot be read", style="bold red")
    return line.append("all services are healthy", style="green")


def problem(row: StatusRow) -> str | None:
    """Return the worst problem of a version in a few words; None if it is well."""
    if row.trouble is not None:
        return row.trouble.health
    if row.weight and not row.workers:
        return "has traffic and no worker"
    if row.unhealthy:
        return f"{counted(row.unhealthy, 'worker')} sick"
    if row.failed >= FEW and row.failed > FAILING * (row.failed + row.processed):
        return f"{row.failed / (row.failed + row.processed):.0%} of its work failed"
    if row.waiting and row.oldest_s >= STUCK:
        return f"a job has taken {row.oldest_s:.0f} s, and {short(row.waiting)} wait"
    return None


def _trouble(row: StatusRow) -> list[str]:
    """Return why workers of a version die, with the last output of one of them."""
    if row.trouble is None:
        return []
    found = row.trouble
    wait = (found.retry_at or 0.0) - time.time()
    again = f", the next one starts in {wait:.0f} s" if wait > 0 else ""
    died = f"{counted(found.deaths, 'death')} in a minute{again}"
    said = [line for one in found.stderr for line in readable(one).splitlines()][-_SHOWN:]
    return [f"{row.service} {row.version} {found.health}: {died}", *(f"  {line}" for line in (found.last_exit, *said))]
