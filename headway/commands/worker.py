"""`headway worker`: one worker process. Needs the base install only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from bus.errors import UsageError
from bus.worker import DEFAULT_GRACE
from headway.cli import examples


@click.command(epilog=examples("headway worker services.fax:fax --version v1 --set speed=20"))
@click.argument("app")
@click.option("--version", default="v1", show_default=True, help="The version's label.")
@click.option("--name", help="The worker's id; a random one by default.")
@click.option("--url", help="Server. [env: HEADWAY_NATS_URL]")
@click.option("--creds", type=click.Path(dir_okay=False), help="Credentials file. [env: HEADWAY_NATS_CREDS]")
@click.option("--config", "config_file", type=click.Path(path_type=Path, dir_okay=False),
              help="The version's configuration, a JSON file.")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE",
              help="One value of the configuration; VALUE is JSON, or else text.")
@click.option("--grace", type=float, default=DEFAULT_GRACE, show_default=True,
              help="Seconds that work in hand has to finish after SIGTERM.")
def worker(*, app: str, version: str, name: str | None, url: str | None, creds: str | None, config_file: Path | None,
           values: tuple[str, ...], grace: float) -> int:
    """Run one worker of the service APP (module:variable) until SIGTERM or Ctrl-C.

    The first signal drains: it takes nothing new and finishes what is in hand. A second one hands unfinished
    work back at once.
    """
    from bus import runner

    config = {**_file(config_file), **dict(map(_pair, values))}
    return runner.main(app, version, url=url, creds=creds, config=config, name=name, grace=grace)


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", remedy="name a JSON file") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a JSON object", remedy='write {"key": value, ...}')
    return found


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set {text!r} is not KEY=VALUE", remedy="write --set speed=20")
    try:
        return key, orjson.loads(value)
    except orjson.JSONDecodeError:
        return key, value
