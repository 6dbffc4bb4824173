"""A fleet for tests: a broker, services in a directory, real worker processes, scalers in this process or their own.

python tests/support/scaling.py <JSON>    # a scaler in a process of its own, until SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.control.records import Scale, ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key, service_key, version_key
from headway.scaler.controller import Scaler
from headway.scaler.drivers.driver import Launch
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.driver import ProcessDriver

DEADLINE = 60.0
"""Seconds that anything may take on a busy machine before a test calls it broken."""
PERIOD = 0.2
"""Seconds between two rounds of a scaler."""


def zygotes(run: Path) -> list[int]:
    """The zygotes of a run directory: processes that hold one of its locks."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"zygote" in command and any(link.startswith(str(run)) and link.endswith(".lock") for link in held):
            found.append(int(process.name))
    return found


def launch_of(version: VersionRecord, url: str, creds: str) -> Launch:
    """What a version's workers are started from."""
    return Launch(
        service=version.service,
        version=version.version,
        app=version.app,
        root=version.root,
        config=version.config,
        grace=version.grace,
        environment={"HEADWAY_NATS_URL": url, "HEADWAY_NATS_CREDS": creds.format(service=version.service)},
    )


class Fleet:
    """See above. `bus` is an operator's connection; `controllers` are the scalers of this process."""

    def __init__(self, broker: Broker, bus: Bus, path: Path, until) -> None:
        self.broker, self.bus, self.path, self.until = broker, bus, path, until
        self.control = Control(bus)
        self.run = path / "run"
        self._creds = str(path / "{service}.creds")
        self._scalers: list[tuple[Scaler, asyncio.Task[None], asyncio.Event, ProcessDriver, Bus]] = []
        self._processes: list[asyncio.subprocess.Process] = []

    async def declare(
        self, scale: Scale, source: str | None = None, *, service: str = "app", calls: bool = False, **version: object
    ) -> None:
        """A service of the module `<service>_made` (variable `app`), its version v1, all traffic to it."""
        if source is not None:
            (self.path / f"{service}_made.py").write_text(source)
            (self.path / f"{service}.creds").write_text(self.broker.identities.creds("worker", service=service))
            await self.broker.set_routes({**await self.broker.routes(), service: {"v1": 100}})
        await self.control.put(service_key(service), ServiceRecord(service=service, scale=scale, calls=calls))
        record = VersionRecord(
            service=service, version="v1", app=f"{service}_made:app", root=str(self.path), weight=100, grace=5
        )
        await self.control.put(version_key(service, "v1"), record.model_copy(update=version))

    async def scaler(self) -> Scaler:
        """Start a scaler in this process."""
        bus = await self.broker.connect("control")
        driver, stop = ProcessDriver(self.run), asyncio.Event()
        controller = Scaler(
            bus,
            driver,
            lambda version: launch_of(version, self.broker.url, self._creds),
            holder=f"scaler-{len(self._scalers)}",
            period=PERIOD,
        )
        task = asyncio.ensure_future(controller.run(stop))
        self._scalers.append((controller, task, stop, driver, bus))
        return controller

    async def end(self, controller: Scaler, *, cancel: bool = False) -> None:
        """Stop a scaler of this process; its workers go on."""
        for known, task, stop, driver, bus in self._scalers:
            if known is controller:
                task.cancel() if cancel else stop.set()
                await asyncio.wait([task], timeout=DEADLINE)
                assert task.done()
                await driver.close()
                await bus.close()
        self._scalers = [one for one in self._scalers if one[0] is not controller]

    async def scaler_process(self, holder: str) -> asyncio.subprocess.Process:
        """Start a scaler in a process of its own."""
        creds = self.path / "control.creds"
        creds.write_text(self.broker.identities.creds("control"))
        asked = {
            "url": self.broker.url,
            "creds": str(creds),
            "worker_creds": self._creds,
            "run": str(self.run),
            "holder": holder,
        }
        with (self.path / f"{holder}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                __file__,
                json.dumps(asked),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    @property
    def controllers(self) -> list[Scaler]:
        """The scalers of this process that run."""
        return [controller for controller, *_ in self._scalers]

    def workers(self, service: str | None = None) -> dict[str, int]:
        """The living workers of one service or all, and their process ids."""
        found = [one for one in rundir.workers(self.run) if rundir.alive(one)]
        return {one.worker: one.pid for one in found if service in {None, one.service}}

    async def count(self, wanted: int, service: str | None = None, seconds: float = DEADLINE) -> None:
        """Wait until so many workers live."""

        def reached() -> bool:
            self.check()
            return len(self.workers(service)) == wanted

        await self.until(reached, seconds)

    async def serving(self, wanted: int, service: str | None = None, seconds: float = DEADLINE) -> None:
        """Wait until exactly so many workers live, and all say that they serve."""
        beating = {}

        async def on_beat(message) -> None:
            beating[message.subject.rsplit(".", 1)[1]] = b'"serving"' in message.data

        def reached() -> bool:
            self.check()
            living = self.workers(service)
            return len(living) == wanted and all(beating.get(worker, False) for worker in living)

        watch = await self.bus.nc.subscribe("beat.>", cb=on_beat)
        try:
            await self.until(reached, seconds)
        finally:
            await watch.unsubscribe()

    async def empty(self, service: str = "app", seconds: float = DEADLINE) -> None:
        """Wait until no job of a service is left."""

        async def done() -> bool:
            self.check()
            return (await self.bus.js.stream_info(f"JOBS_{service}")).state.messages == 0

        await self.until(done, seconds)

    async def record(self, service: str = "app") -> ScaleRecord:
        """What the scaler wrote of a service's version."""
        found = await self.control.get(scale_key(service, "v1"), ScaleRecord)
        return ScaleRecord(service=service, version="v1") if found is None else found.value

    def check(self) -> None:
        """No scaler of this process has failed."""
        for _, task, *_ in self._scalers:
            if task.done():
                task.result()

    async def close(self) -> None:
        """End everything that was started here."""
        for controller, *_ in list(self._scalers):
            await self.end(controller)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        # Zygotes first, so that nobody forks a worker that was not looked for.
        for pid in [*zygotes(self.run), *self.workers().values()]:
            os.kill(pid, signal.SIGKILL)


async def _scale(asked: Mapping[str, str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await connect(asked["url"], creds=Path(asked["creds"]), name=asked["holder"]) as bus:
        driver = ProcessDriver(Path(asked["run"]))
        try:
            await Scaler(
                bus,
                driver,
                lambda version: launch_of(version, asked["url"], asked["worker_creds"]),
                holder=asked["holder"],
                period=PERIOD,
            ).run(stop)
        finally:
            await driver.close()


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(_scale(json.loads(sys.argv[1])))
