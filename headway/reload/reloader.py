"""Watches a project, and has its services run the code as it is now.

    async with asyncio.TaskGroup() as group:
        group.create_task(Reloader(running, say, file=Path("headway.yaml")).run())

After an edit a separate process tries each service that it affects. If it can be imported, a new revision is
declared: the scaler starts workers of it, and drains the former ones once those serve. If not, the error is shown and
nothing changes. Queues, and the work in them, belong to the version and stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from headway.bus.client.ids import unique_id
from headway.bus.errors import HeadwayError
from headway.bus.wire.beat import Beat
from headway.config import load
from headway.control.heartbeats import heard
from headway.exits import describe
from headway.installation import Installation
from headway.reload.child import Ask, Report
from headway.reload.modules import affected, files_of
from headway.reload.watch import edits
from headway.scaler.drivers.process.follow import Say

_IMPORT_TIMEOUT: Final = 60.0
_SERVE_TIMEOUT: Final = 15.0
"""Seconds after which workers of a new revision that do not serve are reported."""


class Reloader:
    """Reloads the services of an installation when their files change.

    Args:
        running: the installation. Its services were imported in this process.
        say: receives what happens, line by line.
        file: the configuration file; None if the services were named on the command line.
        since: unix seconds before they were imported: what was edited since then is reloaded, too.
    """

    def __init__(self, running: Installation, say: Say, file: Path | None, since: float) -> None:
        self._running = running
        self._config = running.config
        self._say = say
        self._since = since
        self._root = Path.cwd().resolve()
        self._file = None if file is None else file.resolve()
        apps = {name: service.app for name, service in self._config.services.items()}
        self._files = files_of(apps, dict(sys.modules), self._root)
        self._revisions: dict[str, str] = {}
        self._served: dict[str, dict[str, asyncio.Event]] = {}
        """By revision and service, set once a worker of it serves."""
        self._spare: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Reload until cancelled."""
        try:
            self._spare = await self._child()
            async with heard(self._running.bus, self._on_beat), asyncio.TaskGroup() as group:
                store = self._root / self._config.server.store
                async for changed in edits(self._root, store, self._since, self._watched_files):
                    at = time.monotonic()
                    edited = self._reconfigure() if self._file in changed else set()
                    if services := sorted(edited.union(affected(changed, self._files))):
                        await self._reload(group, services, at)
        finally:
            if self._spare is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._spare.kill()
                await self._spare.wait()

    def _watched_files(self) -> frozenset[Path]:
        files = frozenset[Path]().union(*(known or () for known in self._files.values()))
        return files if self._file is None else files | {self._file}

    def _reconfigure(self) -> set[str]:
        """Read the configuration file again; return the services whose entry has changed."""
        assert self._file is not None
        try:
            new, _ = load(self._file)
        except HeadwayError as error:
            self._tell(self._file.name, describe(error))
            return set()
        old, services = self._config, {**self._config.services}
        changed = {name for name in services if name in new.services and new.services[name] != services[name]}
        moved = {name for name in changed if new.services[name].version != services[name].version}
        if new.services.keys() != services.keys() or moved or new.server.port != old.server.port or new.web != old.web:
            self._say(
                self._file.name, "start `headway dev` again to add services, or to change a version, port or page"
            )
        services.update({name: new.services[name] for name in changed - moved})
        self._config = old.model_copy(update={"services": services})
        return changed - moved

    async def _reload(self, group: asyncio.TaskGroup, services: list[str], at: float) -> None:
        revision = unique_id()
        self._served[revision] = {service: asyncio.Event() for service in services}
        report = await self._try(services, revision)
        for label, line in report.said:
            self._say(label, line)
        for service in services:
            if (error := report.errors.get(service)) is not None:
                self._files[service] = None
                self._tell(service, error)
                self._say(service, "the edit is not used: the former workers go on")
            else:
                self._files[service] = report.files[service]
                self._revisions[service] = revision
                group.create_task(self._report(service, revision, at))
        self._served = {one: known for one, known in self._served.items() if one in self._revisions.values()}

    async def _try(self, services: list[str], revision: str) -> Report:
        """Have a separate process import services and declare their revision."""
        wanted = {service: self._config.services[service] for service in services}
        ask = Ask(config=self._config.model_copy(update={"services": wanted, "web": None}), revision=revision)
        process = self._spare if self._spare is not None and self._spare.returncode is None else await self._child()
        self._spare = None
        err = b""
        try:
            async with asyncio.timeout(_IMPORT_TIMEOUT):
                out, err = await process.communicate(ask.model_dump_json().encode())
            return Report.model_validate_json(out)
        except TimeoutError:
            why = f"it was not imported within {_IMPORT_TIMEOUT:g} s"
        except ValidationError:
            why = err.decode(errors="replace").strip() or f"exit code {process.returncode}"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._spare = await self._child()
        return Report(errors=dict.fromkeys(services, why))

    async def _child(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        # Bytecode is found by the second in which its source was written, and edits may be faster than that.
        command = [
            sys.executable,
            "-B",
            "-m",
            "headway.reload.child",
            self._running.broker.url,
            self._config.server.store,
        ]
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )

    async def _report(self, service: str, revision: str, at: float) -> None:
        """Say when a revision serves, or that it does not."""
        try:
            async with asyncio.timeout(_SERVE_TIMEOUT):
                if self._running.workers(service):
                    await self._served[revision][service].wait()
        except TimeoutError:
            if self._revisions[service] == revision:
                self._say(service, f"the edit does not serve after {_SERVE_TIMEOUT:g} s: the former workers go on")
            return
        self._say(service, f"reloaded in {time.monotonic() - at:.2f} s")

    def _on_beat(self, beat: Beat) -> None:
        if beat.state != "serving" or beat.service not in self._revisions:
            return
        found = (one.revision for one in self._running.workers(beat.service) if one.worker == beat.worker)
        served = self._served.get(next(found, ""), {})
        if beat.service in served:
            served[beat.service].set()

    def _tell(self, label: str, text: str) -> None:
        for line in text.splitlines():
            self._say(label, line)
