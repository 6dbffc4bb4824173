"""`headway image promote`: copy a proven image from one environment to another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from headway import config as configuration
from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.config import Environment
from headway.endpoint import require


@click.command(epilog=examples("headway image promote fax v2 --from staging --to prod"))
@click.argument("service")
@click.argument("version")
@click.option("--from", "origin", help="Source environment. [default: the other one of two]")
@click.option("--to", "target", required=True, help="Target environment.")
@options.file
@json_option
def promote(*, service: str, version: str, origin: str | None, target: str, file: Path, as_json: bool) -> int:
    """Copy the image of a version to another environment, if its rollout in the source environment was healthy.

    The copy is identical, with the same digest and label. Nothing is deployed: do that in the target environment,
    with `headway deploy`.
    """
    config, _ = configuration.load(file)
    if origin is None:
        others = [name for name in config.environments if name != target]
        if len(others) != 1:
            raise UsageError("from which environment?", remedy="give the source with --from")
        origin = others[0]
    places = config.environments
    for name in (origin, target):
        if name not in places:
            known = ", ".join(places) or "none"
            raise UsageError(f"{file} declares no environment {name!r}", remedy=f"declared there: {known}")
    if Path(places[origin].dir).resolve() == Path(places[target].dir).resolve():
        raise UsageError(
            f"{origin} and {target} are the same environment", remedy="give each environment its own directory"
        )
    return run(_promote(places[origin], places[target], service, version, (origin, target), as_json=as_json))


async def _promote(
    origin: Environment, target: Environment, service: str, version: str, names: tuple[str, str], *, as_json: bool
) -> None:
    from headway.acting import audited
    from headway.control.store import Control
    from headway.deployer.promote import promote as promote_

    directory = Path(origin.dir)
    async with await require(origin.url, origin.creds, directory).connect("image") as bus:
        control = Control(bus)
        await control.refresh()
        async with audited(bus):
            manifest = await asyncio.to_thread(promote_, control, directory, Path(target.dir), service, version)
    if as_json:
        told = {"service": service, "version": version, "digest": manifest.digest, "from": names[0], "to": names[1]}
        click.echo(json.dumps(told))
    else:
        click.echo(f"promoted: {service} {version}  sha256:{manifest.digest}")
        click.echo(f"  from {names[0]} to {names[1]}; next: headway deploy {service} {version} --dir {target.dir}")
