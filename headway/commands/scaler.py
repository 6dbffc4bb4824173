"""`headway scaler`: the process that keeps the right number of workers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headway.bus import tasks
from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.base import examples, run
from headway.endpoint import ServerAccess, find

if TYPE_CHECKING:
    from headway.scaler.controller import Scaler
    from headway.scaler.drivers.driver import Driver

_TOUCH: Final = 2.0
"""Seconds between two touches of the liveness file."""


@click.command(epilog=examples("headway scaler", "headway scaler --dir /var/lib/headway"))
@click.option("--pool", help="Pool of versions to run.  [default: those of the data directory]")
@click.option(
    "--driver",
    "kind",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Run workers as processes of this machine, or as Docker containers.",
)
@click.option(
    "--docker-network",
    default="bridge",
    show_default=True,
    help="Network of the containers; the server's URL must work there, too.",
)
@click.option(
    "--contained",
    is_flag=True,
    help="For running in a container: print the workers' output, and drain them before exiting.",
)
@click.option(
    "--alive",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Touch this file while rounds succeed, for health checks.",
)
@click.option("--warm", is_flag=True, hidden=True, help="Start edited code sooner, at the price of one more process.")
@options.server
def scaler(
    *,
    pool: str | None,
    kind: str,
    docker_network: str,
    contained: bool,
    alive: Path | None,
    warm: bool,
    url: str | None,
    creds: str | None,
    directory: Path,
) -> int:
    """Start, stop and replace the workers of this machine, by load and health.

    `headway up` runs one. Of several scalers on the same data directory one acts; when it dies, another takes over
    within seconds. Workers outlive it. It also submits the jobs for later of the installation when they are due: of
    all scalers, one does.
    """
    from headway.place import pool_of

    endpoint = find(url, creds, directory)
    if contained and kind != "process":
        raise UsageError(
            "--contained is only for --driver process: containers outlive the scaler", remedy="leave it out"
        )
    pool = pool_of(directory) if pool is None else pool
    network = docker_network if kind == "docker" else None
    return run(_scale(endpoint, directory, pool, network, alive, contained=contained, warm=warm))


async def _scale(
    endpoint: ServerAccess,
    directory: Path,
    pool: str,
    network: str | None,
    alive: Path | None,
    *,
    contained: bool,
    warm: bool,
) -> None:
    from headway.broker.broker import Broker
    from headway.broker.identity import KEY_FILE
    from headway.controlprocess import running
    from headway.place import launcher, run_dir
    from headway.scaler.controller import Scaler
    from headway.scheduler.scheduler import Scheduler

    keys = directory if (directory / KEY_FILE).exists() else None
    broker = Broker.external(endpoint.url, creds=endpoint.creds, dir=keys)
    driver = _driver(directory, pool, network, warm=warm)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(running("scaler"))
        stack.push_async_callback(broker.close)
        if contained:
            await stack.enter_async_context(_contained(run_dir(directory)))
        stack.push_async_callback(driver.close)
        bus = await stack.enter_async_context(await broker.connect("control", name="scaler"))
        holder = f"{pool}-{os.getpid()}"
        controller = Scaler(bus, driver, launcher(broker), holder=holder, pool=pool)
        if alive is not None:
            await stack.enter_async_context(_shown(controller, alive))
        async with asyncio.TaskGroup() as group:
            group.create_task(controller.run(stop))
            group.create_task(Scheduler(bus, holder=holder).run(stop))


def _driver(directory: Path, pool: str, network: str | None, *, warm: bool) -> Driver:
    if network is not None:
        from headway.scaler.drivers.docker.driver import DockerDriver

        return DockerDriver(pool, network=network)
    from headway.place import run_dir
    from headway.scaler.drivers.process.driver import ProcessDriver

    return ProcessDriver(run_dir(directory), warm=warm)


@asynccontextmanager
async def _contained(run: Path) -> AsyncIterator[None]:
    """Print the workers' output; at the end let them drain, and wait until the last one has ended.

    Each worker has its own grace period, so there is no limit here: whatever stops the container has one.
    """
    from headway.lifeline import Lifeline
    from headway.loglines import say
    from headway.scaler.drivers.process.follow import Follower

    lifeline = Lifeline()
    os.environ.update(lifeline.environment())
    following = asyncio.create_task(Follower(run, say).follow())
    try:
        yield
    finally:
        lifeline.cut()
        await lifeline.gone()
        lifeline.close()
        await tasks.end([following])


@asynccontextmanager
async def _shown(controller: Scaler, alive: Path) -> AsyncIterator[None]:
    """Touch a file while rounds succeed here or another scaler leads."""

    async def touch() -> None:
        done = -1
        while True:
            if controller.rounds != done or not controller.lease.held:
                done = controller.rounds
                alive.touch()  # noqa: ASYNC240  # one system call
            await asyncio.sleep(_TOUCH)

    touching = asyncio.create_task(touch())
    try:
        yield
    finally:
        await tasks.end([touching])
