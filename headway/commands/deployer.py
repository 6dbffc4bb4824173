"""`headway deployer`: the process that runs rollouts."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, run
from headway.endpoint import find


@click.command(epilog=examples("headway deployer", "headway deployer --dir /var/lib/headway"))
@click.option(
    "--keep",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    envvar="HEADWAY_KEEP",
    help="Retired versions kept per service for rollbacks. [env: HEADWAY_KEEP]",
)
@options.server
def deployer(*, keep: int, url: str | None, creds: str | None, directory: Path) -> int:
    """Move rollouts through their steps, judge them, and roll bad ones back.

    `headway up` runs one. It needs the installation's keys, since traffic weights are part of the account. Of several
    deployers one acts; when it dies, another takes over within seconds. Traffic flows without it.

    Records, queues and images of retired versions are removed, except the last --keep ones.
    """
    endpoint = find(url, creds, directory)
    return run(_deploy(endpoint.url, endpoint.creds, directory, keep))


async def _deploy(url: str, creds: str | None, directory: Path, keep: int) -> None:
    from headway.broker.broker import Broker
    from headway.controlprocess import running
    from headway.deployer.prove import prove
    from headway.deployer.rollout.deployer import Deployer
    from headway.images import signing
    from headway.place import pool_of

    signing.upgrade(directory)
    broker = Broker.external(url, creds=creds, dir=directory)
    with running("deployer") as stop:
        try:
            async with await broker.connect("control", name="deployer") as bus:
                holder = f"{pool_of(directory)}-{os.getpid()}"
                made = Deployer(bus, broker, holder=holder, prove=functools.partial(prove, bus), keep=keep)
                await made.run(stop)
        finally:
            await broker.close()
