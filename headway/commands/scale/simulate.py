"""`headway scale simulate`: simulate the scaler's decisions on a trace of load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console

from headway.bus.errors import UsageError
from headway.commands.base import examples, json_option
from headway.control.records import Scale


@click.command(
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
    help="YAML or JSON file with a service's `scale`, or one key=value of it. Can be repeated.",
)
@click.option(
    "--peers/--no-peers", default=True, show_default=True, help="Also run the rules of KEDA, Knative and AWS."
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the result to a .svg or .png file."
)
@json_option
def simulate(*, trace: str, policy: Sequence[str], peers: bool, picture: Path | None, as_json: bool) -> None:
    """Replay a trace of arrivals against the scaler's decisions.

    TRACE is flash-crowd, diurnal, sawtooth, recorded, or a file: CSV with `second,arrivals` or JSON lines with
    these fields. The service is simulated: each worker finishes 4 jobs per second. The result counts jobs finished
    later than lag.drain_within (10 s), and worker-seconds compared with the lowest possible cost.
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
    """Return the policy given by files and `key=value`; later ones win. It allows 80 workers by default.

    Raises:
        UsageError: if it is not a policy.
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
            raise UsageError(f"cannot read the policy {part}: {error}", remedy="give a file or key=value") from None
        if not isinstance(document, dict):
            raise UsageError(f"{part} is not a policy", remedy="write fields such as `max: 40`")
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
