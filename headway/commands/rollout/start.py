"""`headway rollout start` and its short form, `headway deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import answer, from_image
from headway.control.records import Criteria, Seconds
from headway.control.store import Control
from headway.deployer import checks
from headway.deployer.rollout import requests
from headway.endpoint import ServerAccess, require

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
@click.option("--bake", default="30s", show_default=True, help="How long each step is judged.")
@click.option("--window", default="10m", show_default=True, help="How long the old version is kept warm afterwards.")
@click.option(
    "--requests",
    "requests_",
    type=click.IntRange(1),
    default=Criteria().requests,
    show_default=True,
    help="Requests that each version must have had in a step.",
)
@click.option("--manual", is_flag=True, help="Each step waits for `headway rollout promote`.")
@click.option("--breaking", is_flag=True, help="Schemas may differ in ways that break callers and queued jobs.")
@click.option("--only-cluster", "cluster", metavar="NAME", help="Shift the traffic of this cluster alone.")
@click.option(
    "--check",
    "checks_",
    multiple=True,
    metavar="CHECK",
    help="`call TENANT.OPERATION {..} -> {..}` or `query URL PROMQL < NUMBER`; may be repeated.",
)
@click.option("--wait", is_flag=True, help="Return when it has all traffic (0) or was taken back (1).")
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

    Its workers are started and called first; then it gets traffic step by step. At each it is judged against the
    version before it, and taken back by itself if it is worse.
    """
    plan: dict[str, Any] = {
        "steps": _steps(steps),
        "bake": _duration(bake),
        "window": _duration(window),
        "criteria": Criteria(requests=requests_),
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
        record = await requests.deploy(control, from_image(control, directory, service, version), **plan)
        if not as_json:
            click.echo(f"deploying {service} {version}" + (f" after {record.before}" if record.before else ""))
            click.echo(f"  next: headway rollout watch {service}    headway rollout abort {service}")
        return await answer(control, record, wait=wait, as_json=as_json)


def _duration(text: str) -> float:
    """Return the seconds of `30s`, `5m`, `1h` or a plain number, which may be 0."""
    try:
        return 0.0 if text.strip(" smh") == "0" else _seconds.validate_python(_number(text))
    except ValidationError as error:
        raise UsageError(f"{text!r} is no duration", remedy="write 50ms, 30s, 5m or a number of seconds") from error


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _steps(text: str) -> tuple[int, ...]:
    parts = [part.strip(" %") for part in text.split(",")]
    found = tuple(int(part) for part in parts if part.isdigit())
    if len(found) < len(parts) or sorted(set(found)) != list(found) or found[0] < 1 or found[-1] != 100:
        raise UsageError(f"{text!r} are no steps", remedy="write ascending percents up to 100: 5,25,50,100")
    return found
