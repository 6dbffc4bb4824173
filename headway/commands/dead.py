"""`headway dead`: look at work that was given up, replay it, or throw it away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from headway.bus.client import dead as letters
from headway.bus.client.dead import DeadLetter
from headway.bus.errors import UsageError
from headway.cli import examples, run
from headway.endpoint import Endpoint, find, options

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN = 2000


def _filters(function: F) -> F:
    function = click.option("--tenant", help="Only this tenant's.")(function)
    return click.option("--service", help="Only this service's.")(function)


@click.group()
def dead() -> None:
    """Work that was given up, with its cause and its original payload."""


@dead.command("ls", epilog=examples("headway dead ls --service fax --tenant acme"))
@_filters
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@options
def ls(
    *, service: str | None, tenant: str | None, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """List dead letters, oldest first."""
    return run(_ls(find(url, creds, directory), service, tenant, as_json=as_json))


@dead.command("show", epilog=examples("headway dead show 17"))
@click.argument("seq", type=int)
@options
def show(*, seq: int, url: str | None, creds: str | None, directory: Path) -> int:
    """Show one dead letter: cause, attempts, headers and payload."""
    return run(_show(find(url, creds, directory), seq))


@dead.command(
    "replay",
    epilog=examples(
        "headway dead replay 17 18",
        "headway dead replay --service fax --all",
    ),
)
@click.argument("seqs", type=int, nargs=-1)
@_filters
@click.option("--all", "all_", is_flag=True, help="All that --service and --tenant select.")
@options
def replay(
    *,
    seqs: tuple[int, ...],
    service: str | None,
    tenant: str | None,
    all_: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Put dead letters back into their queue, and delete them once that is stored."""
    if bool(seqs) == (all_ or service is not None or tenant is not None):
        raise UsageError("which ones?", remedy="name numbers of `headway dead ls`, or --all with --service or --tenant")
    return run(_replay(find(url, creds, directory), seqs, service, tenant))


@dead.command("purge", epilog=examples("headway dead purge --service fax --tenant acme"))
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@options
def purge(
    *, service: str | None, tenant: str | None, yes: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Delete dead letters for good."""
    parts = [f"of {what} {name}" for what, name in (("service", service), ("tenant", tenant)) if name]
    whose = " ".join(parts)
    if not yes:
        click.confirm(f"Delete all dead letters {whose or 'of all services and tenants'}?", abort=True, err=True)
    return run(_purge(find(url, creds, directory), service, tenant))


async def _ls(endpoint: Endpoint, service: str | None, tenant: str | None, *, as_json: bool) -> None:
    count = 0
    async with await endpoint.connect("dead") as bus:
        async for letter in letters.list_(bus.js, service, tenant):
            if as_json:
                click.echo(orjson.dumps(_plain(letter)))
            else:
                if not count:
                    click.echo(f"{'SEQ':>6}  {'WHEN':<19}  {'SERVICE/OPERATION':<24}  {'TENANT':<12}  CAUSE")
                what = f"{letter.service}/{letter.operation}"
                when = letter.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
                click.echo(f"{letter.seq:>6}  {when}  {what:<24}  {letter.tenant:<12}  {letter.cause}")
                click.echo(_cut(f"        {letter.attempts}x {letter.traceback or '-'}  {letter.reason}", 79))
            count += 1
    if not count and not as_json:
        click.echo("no dead letters")


async def _show(endpoint: Endpoint, seq: int) -> None:
    async with await endpoint.connect("dead") as bus:
        letter = await letters.show(bus.js, seq)
    facts = _plain(letter)
    payload = facts.pop("payload")
    for name, value in facts.items():
        if isinstance(value, dict):
            for header, text in value.items():
                click.echo(f"{'header':<12} {header}: {text}")
        elif value != "":
            click.echo(f"{name:<12} {value}")
    text = payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)
    click.echo("\n" + _cut(text, _SHOWN))


async def _replay(endpoint: Endpoint, seqs: tuple[int, ...], service: str | None, tenant: str | None) -> None:
    count = 0
    async with await endpoint.connect("dead") as bus:
        if seqs:
            wanted = [await letters.show(bus.js, seq) for seq in seqs]
        else:
            wanted = [letter async for letter in letters.list_(bus.js, service, tenant)]
        for letter in wanted:
            await letters.replay(bus, letter)
            click.echo(f"replayed {letter.seq}: {letter.service}/{letter.operation} of {letter.tenant}")
            count += 1
    if not count:
        click.echo("no dead letters")


async def _purge(endpoint: Endpoint, service: str | None, tenant: str | None) -> None:
    count = 0
    async with await endpoint.connect("dead") as bus:
        async for letter in letters.list_(bus.js, service, tenant):
            await letters.discard(bus, letter)
            count += 1
    click.echo(f"deleted {count} dead letter{'' if count == 1 else 's'}")


def _plain(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON types; a payload that is JSON is shown as such."""
    try:
        payload = orjson.loads(letter.payload) if letter.payload else None
    except orjson.JSONDecodeError:
        payload = letter.payload.decode(errors="replace")
    return {
        "seq": letter.seq,
        "service": letter.service,
        "tenant": letter.tenant,
        "operation": letter.operation,
        "cause": letter.cause,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "traceback": letter.traceback,
        "subject": letter.subject,
        "stream": letter.stream,
        "stream_seq": letter.stream_seq,
        "at": letter.at.isoformat(),
        "blob": letter.blob,
        "headers": dict(letter.headers),
        "payload": payload,
    }


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
