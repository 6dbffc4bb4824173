"""`headway apply`: apply `headway.yaml` to servers that run elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headway import config as configuration
from headway.bus.errors import ConnectionFailed, NotStored
from headway.commands import options
from headway.commands.base import examples, run
from headway.config import Config
from headway.endpoint import find
from headway.loglines import say

if TYPE_CHECKING:
    from headway.broker.broker import Broker
    from headway.bus.service import Service

MOST_COPIES: Final = 3
"""Copies of streams in a cluster unless the file sets a number: they survive the loss of one server."""
_AGAIN: Final = 0.5


@click.command(
    epilog=examples(
        "headway apply --url nats://nats:4222 --dir /var/lib/headway",
    )
)
@options.file
@click.option(
    "--wait", type=float, default=60.0, show_default=True, help="Seconds to wait until the servers are ready."
)
@click.option(
    "--grace",
    type=float,
    help="Seconds to finish work in progress when a worker is stopped.  [default: as long as its jobs may take]",
)
@options.server
def apply(*, file: Path, wait: float, grace: float | None, url: str | None, creds: str | None, directory: Path) -> int:
    """Make streams, control records, queues and routes match headway.yaml, and return.

    It waits until the servers are ready. Scalers, deployers and `headway web` do the rest. In a cluster streams have
    a copy on each server, at most three, unless the file sets `server.replicas`.
    """
    config, _ = configuration.load(file)
    server = config.server.model_copy(update={"store": str(directory)})
    return run(_apply(find(url, creds, directory).url, config.model_copy(update={"server": server}), wait, grace))


async def _apply(url: str, config: Config, wait: float, grace: float | None) -> None:
    from headway.broker.broker import Broker
    from headway.broker.upgrade import upgrade
    from headway.declare import check
    from headway.images import signing

    services = check(config)
    if notice := upgrade(Path(config.server.store)):
        say("apply", notice)
    if notice := signing.upgrade(Path(config.server.store)):
        say("apply", notice)
    broker = Broker.external(url, dir=Path(config.server.store))
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait
    told = ""
    try:
        while True:
            names = await _ready(broker, wait, deadline)
            try:
                await _make(broker, config, services, grace, copies=min(len(names), MOST_COPIES))
                break
            except (ConnectionFailed, NotStored) as error:
                # Each stream and consumer of a cluster elects its own leader, so they become ready one by one.
                if clock() > deadline:
                    raise
                if error.message != told:  # one line per reason, not per attempt
                    told = error.message
                    say("apply", f"{told}; trying again")
                await asyncio.sleep(_AGAIN)
    finally:
        await broker.close()
    click.echo(f"applied: {', '.join(services)} on {', '.join(names)}")


async def _make(
    broker: Broker, config: Config, services: dict[str, Service], grace: float | None, *, copies: int
) -> None:
    """Create streams, records, queues and routes; those that already match stay unchanged."""
    from headway.acting import audited
    from headway.broker.provision import create_streams
    from headway.declare import declare

    async with await broker.connect("operator", name="apply") as bus:
        await create_streams(bus, config.server.replicas or copies)
        async with audited(bus):
            await declare(config, services, broker, bus, grace=grace, say=say)


async def _ready(broker: Broker, wait: float, deadline: float) -> list[str]:
    """Wait until all servers answer and have elected a leader; return their names.

    Args:
        broker: the broker of the servers.
        wait: seconds to wait, for the error message.
        deadline: end of the wait, on the loop's clock.

    Raises:
        NotReady: if that takes too long.
    """
    from headway.broker.errors import NotReady
    from headway.doctor import servers_seen

    seen = "none answers"
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                try:
                    found = await servers_seen.look(broker)
                except ConnectionFailed as error:
                    found, seen = (), error.message
                if found:
                    wanted = max(server.cluster_size for server in found) or 1
                    leads = wanted == 1 or any(server.leader for server in found)
                    if len(found) == wanted and leads and all(server.jetstream for server in found):
                        return [server.name for server in found]
                    seen = f"{len(found)} of {wanted} answer{'' if leads else ', and none leads'}"
                await asyncio.sleep(_AGAIN)
    except TimeoutError:
        remedy = "check the servers' logs; --wait gives them more time"
        raise NotReady(f"{broker.url} is not ready after {wait:g} s: {seen}", remedy=remedy) from None
