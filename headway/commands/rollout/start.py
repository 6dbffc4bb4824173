"""`headway rollout start` and its short form, `headway deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

import click
from pydantic import TypeAdapter, ValidationError

from headway.acting import audited
from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import answer, from_image
from headway.control.records import Criteria, Margin, Seconds, Thin
from headway.control.store import Control
from headway.deployer import checks
from headway.deployer.rollout import requests
from headway.endpoint import ServerAccess, require

_AT_ONCE: Final = 0.001
_seconds: TypeAdapter[float] = TypeAdapter(Seconds)


@click.command(
    epilog=examples(
        "headway rollout start fax v2",
        "headway rollout start fax v2 --steps 1,10,50,100 --bake 5m --manual",
        'headway rollout start fax v2 --check \'call acme.status {"fax": "f1"} -> {"state": "sent"}\'',
    )
)
@click.argument("service")
@click.argument("version")
@click.option("--steps", default="5,25,50,100", show_default=True, help="Shares of the traffic, in percent.")
@click.option("--bake", default="30s", show_default=True, help="Duration of the analysis of each step.")
@click.option("--window", default="10m", show_default=True, help="How long the old version stays warm afterwards.")
@click.option(
    "--requests",
    "requests_",
    type=click.IntRange(1),
    default=Criteria().requests,
    show_default=True,
    help="Requests that each version needs before a step is passed.",
)
@click.option(
    "--margin",
    default="1.7,0.7%",
    show_default=True,
    help="Shown not to be worse than so many times the odds of failing, or so many points more.",
)
@click.option("--patience", default="10m", show_default=True, help="How long a step may take to show that.")
@click.option(
    "--thin",
    type=click.Choice(get_args(Thin)),
    default=Criteria().thin,
    show_default=True,
    help="What happens to a step that proves nothing in this time: hold for a person, promote, or roll back.",
)
@click.option(
    "--holdback",
    type=click.IntRange(0, 50),
    default=requests.HOLDBACK,
    show_default=True,
    help="Percent that the old version keeps at the last step, to compare with; given up once that is passed.",
)
@click.option(
    "--supersede",
    is_flag=True,
    help="End a rollout under way: what it moved goes back, unless its version has all traffic, and this one follows.",
)
@click.option("--manual", is_flag=True, help="Each step waits for `headway rollout promote`.")
@click.option("--breaking", is_flag=True, help="Schemas may differ in ways that break callers and queued jobs.")
@click.option("--only-cluster", "cluster", metavar="NAME", help="Shift the traffic of this cluster alone.")
@click.option(
    "--check",
    "checks_",
    multiple=True,
    metavar="CHECK",
    help="`call TENANT.OPERATION {..} -> {..}` or `query URL PROMQL < NUMBER` or `http URL`; can be repeated.",
)
@click.option("--wait", is_flag=True, help="Return when it has all traffic (0), was rolled back or is held (1).")
@json_option
@options.server
def start(
    *,
    service: str,
    version: str,
    steps: str,
    bake: str,
    window: str,
    requests_: int,
    margin: str,
    patience: str,
    thin: Thin,
    holdback: int,
    supersede: bool,
    manual: bool,
    breaking: bool,
    cluster: str | None,
    checks_: tuple[str, ...],
    wait: bool,
    as_json: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Roll out VERSION of SERVICE, an image made by `headway image build`.

    Its workers are started and called first; then it gets traffic step by step. A step is passed once the version is
    proven not to be worse than the previous one by more than the margin. If it is proven to be worse, it is rolled
    back.
    """
    plan: dict[str, Any] = {
        "steps": _steps(steps),
        "bake": _duration(bake),
        "window": _duration(window),
        "criteria": Criteria(
            requests=requests_, margin=_margin(margin), patience=_duration(patience) or _AT_ONCE, thin=thin
        ),
        "holdback": holdback,
        "supersede": supersede,
        "manual": manual,
        "breaking": breaking,
        "cluster": cluster,
        "checks": tuple(checks.parse(text) for text in checks_),
    }
    return run(_start(require(url, creds, directory), directory, service, version, plan, wait=wait, as_json=as_json))


async def _start(
    endpoint: ServerAccess,
    directory: Path,
    service: str,
    version: str,
    plan: dict[str, Any],
    *,
    wait: bool,
    as_json: bool,
) -> int:
    async with await endpoint.connect("deploy") as bus:
        control = Control(bus)
        await control.refresh()
        async with audited(bus):
            record = await requests.deploy(control, from_image(control, directory, service, version), **plan)
        if not as_json:
            click.echo(f"deploying {service} {version}" + (f" after {record.before}" if record.before else ""))
            click.echo(f"  next: headway rollout watch {service}    headway rollout abort {service}")
        return await answer(control, record, wait=wait, as_json=as_json)


def _duration(text: str) -> float:
    """Parse a duration: return the seconds of `30s`, `5m`, `1h` or a plain number, which may be 0."""
    try:
        return 0.0 if text.strip(" smh") == "0" else _seconds.validate_python(_number(text))
    except ValidationError as error:
        raise UsageError(f"{text!r} is not a duration", remedy="write 50ms, 30s, 5m or a number of seconds") from error


def _margin(text: str) -> Margin:
    """Return the margin of `1.7`, or of `1.7,0.7%`."""
    odds, _, points = (part.strip() for part in text.partition(","))
    try:
        given = {"odds": float(odds)}
        if points:
            given["points"] = float(points.rstrip("% ")) / (100 if points.endswith("%") else 1)
        return Margin.model_validate(given)
    except (ValueError, ValidationError) as error:
        raise UsageError(
            f"{text!r} is not a margin", remedy="write a factor above 1 and points, such as 1.7,0.7%"
        ) from error


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _steps(text: str) -> tuple[int, ...]:
    parts = [part.strip(" %") for part in text.split(",")]
    found = tuple(int(part) for part in parts if part.isdigit())
    if len(found) < len(parts) or sorted(set(found)) != list(found) or found[0] < 1 or found[-1] != 100:
        raise UsageError(f"{text!r} are not steps", remedy="write ascending percentages up to 100, such as 5,25,50,100")
    return found
