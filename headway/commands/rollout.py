"""`headway deploy`, `promote`, `pause`, `resume`, `abort`, `rollback`, `history` and `rollout watch`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from headway import rollouts
from headway.bus.errors import UsageError
from headway.cli import examples, run
from headway.control.records import Criteria, RolloutRecord, Seconds, VersionRecord
from headway.control.store import Control, rollout_key, version_key
from headway.deployer import checks
from headway.deployer.errors import NoRollout
from headway.deployer.rollout import requests as ask
from headway.deployer.version import version_of
from headway.endpoint import Endpoint, options, require
from headway.place import pool_of

_TOOK_NOTICE = 2.0
"""Seconds in which a deployer that runs has begun."""
_POLL = 0.25
_seconds: TypeAdapter[float] = TypeAdapter(Seconds)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _duration(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h` or a number; 0 is one."""
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


@click.command(
    epilog=examples(
        "headway deploy fax v2",
        "headway deploy fax v2 --steps 1,10,50,100 --bake 5m --manual",
        'headway deploy fax v2 --check \'call acme.status {"fax": "f1"} -> {"state": "sent"}\'',
    )
)
@click.argument("service")
@click.argument("version")
@click.option("--steps", default="5,25,50,100", show_default=True, help="Shares of the traffic, in percent.")
@click.option("--bake", default="30s", show_default=True, help="How long each step is judged.")
@click.option("--window", default="10m", show_default=True, help="How long the old version is kept warm afterwards.")
@click.option(
    "--requests",
    type=click.IntRange(1),
    default=Criteria().requests,
    show_default=True,
    help="Requests that each version must have had in a step.",
)
@click.option("--manual", is_flag=True, help="Each step waits for `headway promote`.")
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
@_json
@options
def deploy(
    *,
    service: str,
    version: str,
    steps: str,
    bake: str,
    window: str,
    requests: int,
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
    given: dict[str, Any] = {
        "steps": _steps(steps),
        "bake": _duration(bake),
        "window": _duration(window),
        "criteria": Criteria(requests=requests),
        "manual": manual,
        "breaking": breaking,
        "cluster": cluster,
        "checks": tuple(checks.parse(text) for text in checks_),
    }
    return run(_deploy(require(url, creds, directory), directory, service, version, given, wait=wait, as_json=as_json))


async def _deploy(
    endpoint: Endpoint,
    directory: Path,
    service: str,
    version: str,
    given: dict[str, Any],
    *,
    wait: bool,
    as_json: bool,
) -> int:
    async with await endpoint.connect("deploy") as bus:
        control = Control(bus)
        await control.refresh()
        record = await ask.deploy(control, _from_image(control, directory, service, version), **given)
        if not as_json:
            click.echo(f"deploying {service} {version}" + (f" after {record.before}" if record.before else ""))
            click.echo(f"  next: headway rollout watch {service}    headway abort {service}")
        return await _answer(control, record, wait=wait, as_json=as_json)


def _from_image(control: Control, directory: Path, service: str, version: str) -> VersionRecord:
    """A version as its image has it, that runs where the service's versions run. Raises as `version_of`."""
    others = [one for (of, _), one in control.versions.items() if of == service]
    known = max(others, key=lambda one: one.weight, default=None)
    if known is None:
        return version_of(directory, service, version, pool=pool_of(directory))
    return version_of(directory, service, version, pool=known.pool, grace=known.grace)


def _asking(name: str, what: str, said: str, work: Callable[[Control, str], Awaitable[RolloutRecord]]) -> click.Command:
    """A command that asks one thing of the rollout of a service."""

    @click.command(name, help=what, epilog=examples(f"headway {name} fax"))
    @click.argument("service")
    @_json
    @options
    def command(*, service: str, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
        async def do(endpoint: Endpoint) -> int:
            async with await endpoint.connect(name) as bus:
                control = Control(bus)
                record = await work(control, service)
                if not as_json:
                    click.echo(f"{said} {service} {record.version}")
                return await _answer(control, record, as_json=as_json)

        return run(do(require(url, creds, directory)))

    return command


promote = _asking("promote", "Go to the next step now, whatever the judge waits for.", "promoting", ask.promote)
pause = _asking("pause", "Go no step forward; back it can go.", "pausing", ask.pause)
resume = _asking("resume", "Go on after a pause.", "resuming", ask.resume)
abort = _asking(
    "abort", "Send all traffic back to the version before, and what is queued with it.", "aborting", ask.abort
)


@click.command(epilog=examples("headway rollback fax", "headway rollback fax --to v1"))
@click.argument("service")
@click.option("--to", help="Version to go back to.  [default: the one before]")
@click.option("--wait", is_flag=True, help="Return when nothing is left to do.")
@_json
@options
def rollback(
    *, service: str, to: str | None, wait: bool, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Take SERVICE back: the rollout under way, the last one, or to any version that is kept.

    The traffic goes back first, within milliseconds if the version is still warm. Then the other version
    takes over what is queued.
    """

    async def do(endpoint: Endpoint) -> int:
        async with await endpoint.connect("rollback") as bus:
            control = Control(bus)
            await control.refresh()
            if to is not None and (service, to) not in control.versions:  # long gone, but its image is kept
                made = _from_image(control, directory, service, to).model_copy(update={"phase": "retired"})
                await control.put(version_key(service, to), made)
            record = await ask.rollback(control, service, to)
            if not as_json:
                target = record.version if record.urgent and record.abort is None else record.before
                click.echo(f"rolling {service} back to {target or 'nothing'}")
            return await _answer(control, record, wait=wait, as_json=as_json)

    return run(do(require(url, creds, directory)))


@click.command(epilog=examples("headway history fax"))
@click.argument("service")
@_json
@options
def history(*, service: str, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Show the rollouts of SERVICE, and each transition of the last one with its reason."""

    async def do(endpoint: Endpoint) -> None:
        async with await endpoint.connect("history") as bus:
            record = await _read(Control(bus), service)
        if as_json:
            click.echo(record.model_dump_json())
        else:
            Console(highlight=False).print(rollouts.past(record), Text(), rollouts.transitions(record))

    return run(do(require(url, creds, directory)))


@click.group()
def rollout() -> None:
    """Rollouts as they happen."""


@rollout.command("watch", epilog=examples("headway rollout watch fax"))
@click.argument("service")
@options
def watch(*, service: str, url: str | None, creds: str | None, directory: Path) -> int:
    """Follow the rollout of SERVICE until it is over, or Ctrl-C. Exits with 1 if it was taken back."""
    return run(_watch(require(url, creds, directory), service))


async def _watch(endpoint: Endpoint, service: str) -> int:
    async with await endpoint.connect("watch") as bus:
        control = Control(bus)
        record = await _read(control, service)
        with Live(Text(""), console=Console(highlight=False), auto_refresh=False) as screen:
            while True:
                await control.refresh()
                versions = {v: one for (of, v), one in control.versions.items() if of == service}
                scales = {v: one for (of, v), one in control.scales.items() if of == service}
                record = await _read(control, service)
                screen.update(rollouts.live(record, versions, scales), refresh=True)
                if record.over:
                    return int(record.phase != "done")
                await asyncio.sleep(_POLL)


async def _answer(control: Control, record: RolloutRecord, *, wait: bool = False, as_json: bool) -> int:
    """Tell what became of what was asked, once a deployer has seen it; or once all is over."""
    loop = asyncio.get_running_loop()
    began, seen = loop.time(), record
    while True:
        found = await _read(control, record.service)
        if found.number != record.number:
            break
        seen = found
        if seen.over or (not wait and (seen != record or loop.time() - began > _TOOK_NOTICE)):
            break
        await asyncio.sleep(_POLL)
    if as_json:
        click.echo(seen.model_dump_json())
    elif seen == record and not seen.over:
        click.echo("no deployer has begun yet: is `headway deployer` running? (`headway up` runs one)", err=True)
    else:
        click.echo(f"{seen.phase}: {seen.note or (seen.history[-1].reason if seen.history else '')}")
    return int(wait and seen.phase not in {"done", "rolled-back" if record.abort else "done"})


async def _read(control: Control, service: str) -> RolloutRecord:
    kept = await control.get(rollout_key(service), RolloutRecord)
    if kept is None:
        raise NoRollout(f"{service} was never rolled out")
    return kept.value
