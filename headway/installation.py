"""An installation on one machine: a broker, and a fixed number of worker processes for each service.

    async with Installation.start(config, say=...) as running:
        ...                       # serving; leaving the block drains the workers, then stops the server
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from broker import atomic
from broker.broker import Broker
from bus import streams
from bus.beat import Beat
from bus.client import Bus
from bus.errors import HeadwayError, UsageError
from bus.runner import load
from bus.worker import DEFAULT_GRACE
from headway.config import Config, ServiceConfig
from headway.endpoint import RUNNING_FILE, Running
from headway.process import Process, Say

_KILL_AFTER: Final = 5.0
"""Seconds beyond the grace period after which a worker that does not end is killed."""


class StartFailed(HeadwayError):
    """Workers did not begin to serve."""

    code = "start_failed"
    default_remedy = "see their log above; --start-timeout gives them more time"


class Installation:
    """A running installation. Made by `start`.

    Attributes:
        config: what runs.
        broker: server, identities and routes.
        bus: an operator's connection.
        processes: the workers' processes by service.
    """

    def __init__(self, config: Config, broker: Broker, bus: Bus, say: Say) -> None:
        self.config = config
        self.broker = broker
        self.bus = bus
        self.processes: dict[str, list[Process]] = {}
        self._say = say
        self._serving: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        config: Config,
        *,
        say: Say,
        start_timeout: float = 60.0,
        grace: float = DEFAULT_GRACE,
        hurry: asyncio.Event | None = None,
        external: Broker | None = None,
    ) -> AsyncIterator[Installation]:
        """Start everything, and return when every worker serves.

        Args:
            config: what to run.
            say: receives the workers' output, line by line.
            start_timeout: seconds that all workers have to begin to serve.
            grace: seconds that work in hand has to finish at the end.
            hurry: set it to end the grace period.
            external: a broker that somebody else runs, instead of starting one.

        Raises:
            BrokerError: if the server cannot be used.
            UsageError, ConfigError: if a service cannot be loaded or its configuration does not validate.
            StartFailed: if workers do not serve in time.
        """
        _check(config)
        async with _broker(config, external) as broker, await broker.connect("operator", name="up") as bus:
            running = cls(config, broker, bus, say)
            beats = await bus.nc.subscribe("beat.>", cb=running._on_beat)
            try:
                async with asyncio.TaskGroup() as group:
                    try:
                        running._spawn(group, grace)
                        await running._until_serving(start_timeout)
                        await running._route()
                        _announce(broker)
                        yield running
                    finally:
                        await running._stop(grace, hurry or asyncio.Event())
            finally:
                _withdraw(broker)
                await beats.unsubscribe()

    def _spawn(self, group: asyncio.TaskGroup, grace: float) -> None:
        for name, service in self.config.services.items():
            environment = {**os.environ, "HEADWAY_NATS_URL": self.broker.url, "PYTHONUNBUFFERED": "1"}
            if self.broker.data_dir is not None:  # without keys, workers have the rights that we were given
                creds = self.broker.identities.creds_file("worker", service=name)
                environment["HEADWAY_NATS_CREDS"] = str(creds.resolve())
            self.processes[name] = []
            for number in range(1, service.workers + 1):
                process = Process(
                    f"{name}-{service.version}.{number}", _command(service, grace), environment, self._say
                )
                self.processes[name].append(process)
                group.create_task(process.keep_running())

    async def _route(self) -> None:
        """Send all traffic of our services to our versions."""
        wanted = {name: {service.version: 100} for name, service in self.config.services.items()}
        if self.broker.data_dir is None:
            self._say("routes", f"stay as they are: the keys of {self.broker.url} are not here")
        elif self.broker.server is None:
            await self.broker.set_routes({**await self.broker.routes(), **wanted})  # others serve there, too
        else:
            await self.broker.set_routes(wanted)

    async def _until_serving(self, timeout: float) -> None:
        wanted = {name: service.workers for name, service in self.config.services.items()}
        try:
            async with asyncio.timeout(timeout):
                while any(sum(s == name for s, _ in self._serving) < count for name, count in wanted.items()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = [name for name, n in wanted.items() if sum(s == name for s, _ in self._serving) < n]
            raise StartFailed(f"workers of {', '.join(missing)} do not serve after {timeout:g} s") from None

    async def _on_beat(self, message: Any) -> None:
        beat = Beat.model_validate_json(message.data)
        if beat.state == "serving" and (beat.service, beat.worker) not in self._serving:
            self._serving.add((beat.service, beat.worker))
            self._changed.set()

    async def _stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Drain all workers; return when none is left."""
        everyone = [process for processes in self.processes.values() for process in processes]
        for process in everyone:
            process.stop()
        hurried = False
        deadline = asyncio.get_running_loop().time() + grace + _KILL_AFTER
        while any(process.pid is not None for process in everyone):
            if hurry.is_set() and not hurried:
                hurried = True
                for process in everyone:
                    process.stop()
                deadline = asyncio.get_running_loop().time() + _KILL_AFTER
            if asyncio.get_running_loop().time() > deadline:
                for process in everyone:
                    process.kill()
            await asyncio.sleep(0.02)


def for_apps(apps: tuple[str, ...], workers: int, version: str) -> dict[str, ServiceConfig]:
    """The services of apps that are named on the command line.

    Raises:
        UsageError: if one cannot be loaded, or two have the same name.
    """
    services: dict[str, ServiceConfig] = {}
    for app in apps:
        name = load(app).name
        if name in services:
            raise UsageError(f"{app} and {services[name].app} are both service {name!r}", remedy="name one of them")
        services[name] = ServiceConfig(app=app, version=version, workers=workers)
    return services


def _check(config: Config) -> None:
    """Find out before anything is started whether all services load and take their configuration."""
    for name, wanted in config.services.items():
        service = load(wanted.app)
        if service.name != name:
            raise UsageError(
                f"{wanted.app} is service {service.name!r}, not {name!r}", remedy=f"list it under {service.name!r}"
            )
        service.configure(wanted.config)


@asynccontextmanager
async def _broker(config: Config, external: Broker | None) -> AsyncIterator[Broker]:
    if external is not None:
        try:
            async with await external.connect("control") as bus:
                await streams.provision(bus.js)
            yield external
        finally:
            await external.close()
        return
    server = config.server
    async with Broker.start(Path(server.store), port=server.port, ws_port=server.websocket_port) as broker:
        yield broker


def _command(service: ServiceConfig, grace: float) -> list[str]:
    command = [sys.executable, "-m", "headway", "worker", service.app, "--version", service.version]
    command += ["--grace", f"{grace:g}"]
    for key, value in service.config.items():
        command += ["--set", f"{key}={orjson.dumps(value).decode()}"]
    return command


def _announce(broker: Broker) -> None:
    """Tell other commands in this folder where the server is, if it is ours."""
    if broker.server is not None and broker.data_dir is not None:
        creds = broker.identities.creds_file("operator")
        running = Running(url=broker.url, ws_url=broker.ws_url, pid=os.getpid(), creds=str(creds.resolve()))
        atomic.write(broker.data_dir / RUNNING_FILE, running.model_dump_json().encode())


def _withdraw(broker: Broker) -> None:
    if broker.server is not None and broker.data_dir is not None:
        (broker.data_dir / RUNNING_FILE).unlink(missing_ok=True)
