"""An installation on one machine: a broker, and the control processes that keep its services running.

    async with Installation.start(config, say=...) as running:
        ...                       # serving; leaving the block drains the workers, then stops the server

It writes the desired state to the control records; the scaler, a separate process, brings it about. If this process
is killed, the lifeline makes scaler, zygotes and workers drain and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from headway.acting import audited
from headway.broker import atomic
from headway.broker.broker import Broker
from headway.broker.provision import create_streams
from headway.broker.supervisor import Supervisor
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, UsageError
from headway.bus.handlers import Kind
from headway.bus.service import Service
from headway.bus.wire.beat import Beat
from headway.bus.worker.runner import load
from headway.bus.worker.worker import DEFAULT_GRACE
from headway.config import Config, ServiceConfig
from headway.control.heartbeats import heard
from headway.control.store import Control
from headway.declare import check, declare, suspend
from headway.endpoint import RUNNING_FILE, Running
from headway.lifeline import Lifeline
from headway.ownership import Ownership
from headway.place import pool_of, run_dir
from headway.process import Process
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.follow import Follower, Say
from headway.scaler.drivers.process.rundir import WorkerFile

_KILL_AFTER: Final = 5.0
"""Seconds after which a worker that should hand back its work is killed."""
_LEAVE_TIMEOUT: Final = 5.0
"""Seconds that controllers and zygotes have to end."""
_SUSPEND_TIMEOUT: Final = 2.0
_POLL: Final = 0.02
_PAGES: Final = re.compile(r"ready: client sync at (\S+),")


class StartFailed(HeadwayError):
    """Workers did not start to serve."""

    code = "start_failed"
    default_remedy = "check their log above; --start-timeout gives them more time"


class Installation:
    """A running installation. Made by `start`.

    Attributes:
        config: the configuration.
        broker: server, identities and routes.
        bus: an operator's connection.
        controllers: the control processes by name.
        run: the run directory of the workers.
        web_url: where browsers find the pages; None until they are served.
    """

    def __init__(self, config: Config, broker: Broker, bus: Bus, say: Say) -> None:
        self.config = config
        self.broker = broker
        self.bus = bus
        self.controllers: dict[str, Process] = {}
        self.run = run_dir(Path(config.server.store))
        self.web_url: str | None = None
        self._control = Control(bus)
        self._say = say
        self._lifeline = Lifeline()
        self._ownership = Ownership(bus, Path(config.server.store), pool_of(Path(config.server.store)))
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
        warm: bool = False,
    ) -> AsyncIterator[Installation]:
        """Start everything, and return when all services serve or the time is up.

        Args:
            config: the configuration.
            say: receives the workers' output, line by line.
            start_timeout: seconds that the workers have to start serving.
            grace: seconds to finish work in progress at the end.
            hurry: event that ends the grace period at once.
            external: a broker for a running server; by default one is started.
            warm: start edited code sooner, at the price of one more process.

        Raises:
            BrokerError: if the server cannot be used.
            UsageError, ConfigError: if a service cannot be loaded or its configuration does not validate.
            ServiceTaken: if another process runs one of the services.
            StartFailed: if no service has its workers in time.
        """
        services = check(config)
        async with _broker(config, external) as broker, await broker.connect("operator", name="up") as bus:
            running = cls(config, broker, bus, say)
            rundir.prepare(running.run)
            await running._ownership.claim(services)
            running._forget_epochs()
            _announce(broker)
            try:
                async with heard(bus, running._beat), tasks.group() as group:
                    helping = [
                        group.create_task(Follower(running.run, say).follow()),
                        group.create_task(running._ownership.keep()),
                    ]
                    if broker.server is not None:
                        helping.append(group.create_task(Supervisor(broker, say).run()))
                    try:
                        async with audited(bus, "up", {"services": sorted(services)}):
                            await declare(config, services, broker, bus, grace=None, say=say)
                        running._control_processes(group, warm=warm)
                        await running._until_serving(services, start_timeout)
                        _announce(broker, running.web_url)
                        yield running
                    finally:
                        await running._stop(grace, hurry or asyncio.Event())
                        await tasks.end(helping)
            finally:
                running._lifeline.close()
                _withdraw(broker)

    def workers(self, service: str | None = None) -> list[WorkerFile]:
        """Return the live workers of this installation's services on this machine, or of one service."""
        wanted = set(self.config.services) if service is None else {service}
        return [one for one in rundir.workers(self.run) if one.service in wanted and rundir.alive(one)]

    def _forget_epochs(self) -> None:
        """Remove the fence of former leaders if no worker is alive: the server may have lost their epochs."""
        if not self.workers():
            (self.run / rundir.FENCE).unlink(missing_ok=True)

    def _control_processes(self, group: asyncio.TaskGroup, *, warm: bool) -> None:
        environment = {**os.environ, **self._lifeline.environment(), "HEADWAY_NATS_URL": self.broker.url}
        commands = {"scaler": ["--warm"] if warm else []}
        if self.broker.data_dir is not None:  # traffic weights are signed with the keys
            commands["deployer"] = []
        if self.config.web is not None:
            if self.broker.ws_url is not None:
                environment["HEADWAY_WS_URL"] = self.broker.ws_url
            commands["web"] = self.config.web.arguments()
        if warm:  # bytecode is found by the second in which its source was written, and edits may be faster than that
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        for name, options in commands.items():
            command = [sys.executable, "-m", "headway", name, "--dir", self.config.server.store, *options]
            process = Process(name, command, environment, self._hear, inherit=(self._lifeline.descriptor,))
            self.controllers[name] = process
            group.create_task(process.keep_running())

    def _hear(self, label: str, line: str) -> None:
        """Print a line of a control process, and find the address of the pages in it."""
        if label == "web" and (found := _PAGES.match(line)):
            self.web_url = found[1]
            self._changed.set()
        self._say(label, line)

    async def _until_serving(self, services: Mapping[str, Service], timeout: float) -> None:
        wanted = {
            name: max(self.config.services[name].scaling.min, bool(service.handlers_of(Kind.RPC)))
            for name, service in services.items()
        }

        def missing() -> list[str]:
            found = [name for name, n in wanted.items() if sum(s == name for s, _ in self._serving) < n]
            return [*found, *(["web"] if self.config.web is not None and self.web_url is None else [])]

        try:
            async with asyncio.timeout(timeout):
                while missing():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            late = f"{', '.join(missing())}: not serving after {timeout:g} s"
            if not self._serving:
                raise StartFailed(late) from None
            self._say("up", f"{late}; the others go on, `headway status` tells why")

    def _beat(self, beat: Beat) -> None:
        if beat.state == "serving" and (beat.service, beat.worker) not in self._serving:
            self._serving.add((beat.service, beat.worker))
            self._changed.set()

    async def _stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Drain the workers of this installation, end the control processes, and return when all are gone."""
        try:
            async with asyncio.timeout(_SUSPEND_TIMEOUT):
                await asyncio.gather(*(suspend(self._control, name) for name in self._ownership.services))
                await self._ownership.release()
        except (HeadwayError, TimeoutError):
            self._lifeline.cut()  # without the server the scaler does not learn of it, but the zygotes do
        await self._until_drained(grace, hurry)
        for process in self.controllers.values():
            process.stop()
        self._lifeline.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                await self._lifeline.gone()
        for process in self.controllers.values():
            process.kill()
        self._signal(signal.SIGKILL)

    async def _until_drained(self, grace: float, hurry: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + grace
        hurried = False
        while self.workers():
            if (hurry.is_set() or clock() > deadline) and not hurried:
                hurried = True
                self._signal(signal.SIGTERM)  # the second signal: work in progress is handed back at once
                deadline = clock() + _KILL_AFTER
            elif clock() > deadline:
                self._signal(signal.SIGKILL)
            await asyncio.sleep(_POLL)

    def _signal(self, number: signal.Signals) -> None:
        for one in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, number)


def for_apps(apps: tuple[str, ...], workers: int | None, version: str) -> dict[str, ServiceConfig]:
    """Return the services of the apps on the command line.

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


@asynccontextmanager
async def _broker(config: Config, external: Broker | None) -> AsyncIterator[Broker]:
    if external is not None:
        try:
            async with await external.connect("control") as bus:
                await create_streams(bus, config.server.replicas)
            yield external
        finally:
            await external.close()
        return
    server = config.server
    async with Broker.start(
        Path(server.store),
        port=server.port,
        ws_port=server.websocket_port,
        origins=config.web.own_origins() if config.web is not None else (),
        compression=server.websocket_compression,
        sync_interval=server.sync_interval,
        replicas=server.replicas,
    ) as broker:
        yield broker


def _announce(broker: Broker, web_url: str | None = None) -> None:
    """Publish the server's address for other commands in this folder, if this process runs it."""
    if broker.server is not None and broker.data_dir is not None:
        creds = broker.identities.creds_file("operator")
        running = Running(
            url=broker.url, ws_url=broker.ws_url, pid=os.getpid(), creds=str(creds.resolve()), web_url=web_url
        )
        atomic.write(broker.data_dir / RUNNING_FILE, running.model_dump_json().encode())


def _withdraw(broker: Broker) -> None:
    if broker.server is not None and broker.data_dir is not None:
        (broker.data_dir / RUNNING_FILE).unlink(missing_ok=True)
