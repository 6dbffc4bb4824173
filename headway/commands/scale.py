"""`headway scale`: what the scaler decided and why, and what it would decide on other load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from headway.bus.errors import NotFound, UsageError
from headway.cli import examples, run
from headway.control.records import Scale, ScaleRecord
from headway.endpoint import Endpoint, find, options


@click.group()
def scale() -> None:
    """Show why there are so many workers, and try policies on load."""


@scale.command(
    epilog=examples(
        "headway scale simulate flash-crowd",
        "headway scale simulate trace.csv --policy max=40 --policy lag.drain_within=5s",
        "headway scale simulate sawtooth --picture sawtooth.svg",
    )
)
@click.argument("trace", default="flash-crowd")
@click.option(
    "--policy",
    multiple=True,
    metavar="FILE|KEY=VALUE",
    help="YAML or JSON file with a service's `scale`, or one value of it. Repeat for more.",
)
@click.option("--peers/--no-peers", default=True, show_default=True, help="Run the rules of KEDA, Knative and AWS too.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw it: a file .svg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(*, trace: str, policy: Sequence[str], peers: bool, picture: Path | None, as_json: bool) -> None:
    """Replay a trace of arrivals against the scaler's decisions.

    TRACE is flash-crowd, diurnal, sawtooth, recorded, or a file: CSV with `second,arrivals` or JSON lines with
    these fields. The service is a made-up one whose workers finish 4 jobs per second each; what counts is
    jobs finished later than lag.drain_within (10 s), and the worker-seconds paid, against a bound that
    no schedule goes below.
    """
    from headway.scaler.simulate import picture as pictures
    from headway.scaler.simulate import report, traces

    if picture is not None:
        pictures.check(picture)
    wanted = read_policy(policy)
    found = report.compare(traces.load(trace), report.load_of(wanted), wanted, others=peers)
    if picture is not None:
        pictures.draw(found, picture)
    if as_json:
        click.echo(json.dumps(report.as_json(found)))
    else:
        Console(highlight=False).print(report.as_table(found))


def read_policy(parts: Sequence[str]) -> Scale:
    """The policy that files and `key=value` name, later ones first; up to 80 workers by default.

    Raises:
        UsageError: if it is none.
    """
    import yaml

    values: dict[str, Any] = {"max": 80}
    for part in parts:
        key, given, text = part.partition("=")
        try:
            if given:
                _put(values, key.split("."), yaml.safe_load(text))
                continue
            document = yaml.safe_load(Path(part).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"cannot read the policy {part}: {error}", remedy="give a file, or key=value") from None
        if not isinstance(document, dict):
            raise UsageError(f"{part} is no policy", remedy="write fields such as `max: 40`")
        inner = document.get("scale", document)
        values |= inner if isinstance(inner, dict) else document
    try:
        return Scale.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "policy"
        raise UsageError(f"{where}: {first['msg']}", remedy="fields: " + ", ".join(Scale.model_fields)) from None


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value; YAML's `off` switches a policy off."""
    for step in path[:-1]:
        inner = values.get(step)
        values[step] = dict(inner) if isinstance(inner, dict) else {}
        values = values[step]
    values[path[-1]] = None if value is False else value


@scale.command(epilog=examples("headway scale history fax"))
@click.argument("service")
@click.option("--version", help="Only this version.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options
def history(
    *, service: str, version: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Show the scaler's last decisions on a service, each with its reason."""
    return run(_history(find(url, creds, directory), service, version, as_json=as_json))


async def _history(endpoint: Endpoint, service: str, version: str | None, *, as_json: bool) -> None:
    from headway.control.store import Control

    async with await endpoint.connect("scale") as bus:
        control = Control(bus)
        await control.refresh()
        found = {
            name: record
            for (of, name), record in sorted(control.scales.items())
            if of == service and version in {None, name}
        }
    if not found:
        which = service if version is None else f"{service} {version}"
        raise NotFound(f"nothing was decided on {which} yet", remedy="`headway status` shows the services that run")
    if as_json:
        click.echo(json.dumps({name: record.model_dump(mode="json") for name, record in found.items()}))
    else:
        Console(highlight=False).print(render(found))


def render(found: Mapping[str, ScaleRecord]) -> Table:
    """Decisions of versions, the latest at the bottom."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("TIME", no_wrap=True)
    table.add_column("VER", no_wrap=True)
    table.add_column("WORKERS", no_wrap=True, justify="right")
    table.add_column("REASON", overflow="fold")
    lines = sorted(
        ((one, name) for name, record in found.items() for one in record.history), key=lambda line: line[0].at
    )
    for one, name in lines:
        at = datetime.fromtimestamp(one.at).astimezone()
        table.add_row(f"{at:%H:%M:%S}", name, f"{one.before} -> {one.desired}", one.reason)
    return table
