"""The Docker driver: each worker is a container of its version's image.

It lists the workers from the daemon; they carry the label of their pool, so a new scaler finds them all. It polls for
their ends: events are lost while no scaler listens, so polling is needed anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.utils import clean_filters

from headway.bus import tasks
from headway.scaler.drivers.docker import container
from headway.scaler.drivers.driver import ExitedWorker, Launch, RunningWorker
from headway.scaler.drivers.process.rundir import TAIL, launch_id
from headway.scaler.errors import Fenced, LaunchFailed, ScalerError

WORKER_IMAGE: Final = "headway-worker"
"""Image that runs a working tree; a version with a Headway image runs from its own Docker image."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
PROBE_TIMEOUT: Final = 60.0
"""Seconds that the import of a service may take."""
_LOOK: Final = 0.25
_LINGER: Final = 2.0
"""Seconds for which the container of an ended worker is kept, so that other scalers see it, too."""
_FORGOTTEN: Final = 60.0
"""Seconds after which a created but not started container counts as left over from a dead scaler."""
_GONE: Final = frozenset({404, 409})
"""No such container, it is not running, or it is being removed."""
_CONFLICT: Final = 409

_log = logging.getLogger("headway.scaler")


class DockerDriver:
    """Runs workers as containers; see `headway.scaler.drivers.driver.Driver`.

    Args:
        pool: the pool of its workers; containers of other pools are not touched.
        network: the containers' network; "host" shares the network of the daemon's machine.
        image: the image that runs working trees, which need a daemon on this machine.
    """

    def __init__(self, pool: str, *, network: str = "bridge", image: str = WORKER_IMAGE) -> None:
        self._pool = pool
        self._network = network
        self._worker_image = image
        self._docker = aiodocker.Docker(timeout=_TIMEOUT)
        self._exited: asyncio.Queue[ExitedWorker] = asyncio.Queue()
        self._told: set[str] = set()
        self._made: dict[str, float] = {}
        """When containers were first seen, by this machine's clock: the daemon's may differ."""
        self._ends: set[asyncio.Task[None]] = set()
        self._pinned: dict[str, str] = {}
        self._preparing: dict[str, asyncio.Lock] = {}

    async def prepare(self, launch: Launch) -> None:
        """Find the image of a launch, and try to import its service. Raises `LaunchFailed` with the output."""
        await self._prepared(launch)

    async def lead(self, fence: int) -> None:
        """Refuse former leaders. Raises `Fenced`."""
        await self._pass(fence)

    async def list(self) -> list[RunningWorker]:
        """List the living workers of the pool.

        Raises:
            ScalerError: if the daemon does not answer.
        """
        living = []
        now = time.monotonic()
        containers = await self._containers({"label": [f"{container.POOL}={self._pool}"]})
        self._made = {found["Id"]: self._made.get(found["Id"], now) for found in containers}
        for found in containers:
            if found["State"] in {"exited", "dead"}:
                self._end_of(found)
            elif found["State"] == "created":
                if now - self._made[found["Id"]] > _FORGOTTEN:
                    await self._delete(self._docker.containers.container(found["Id"]))
            elif found["State"] != "removing":
                living.append(container.running(found))
        return living

    async def spawn(self, launch: Launch, worker: str, fence: int) -> RunningWorker:
        """Start a container. Raises `LaunchFailed` and `Fenced`."""
        image = await self._prepared(launch)
        await self._pass(fence)
        config = container.worker(launch, image, self._network, self._pool, worker)
        async with _asking(f"{worker} of {launch.service} {launch.version} cannot be started"):
            try:
                made = await self._docker.containers.create(config, name=f"headway-{self._pool}-{worker}")
            except DockerError as error:
                if error.status == _CONFLICT:
                    raise LaunchFailed(f"a worker {worker} exists already") from error
                raise
            try:
                await made.put_archive(container.GIVEN, container.given(launch))
                await self._pass(fence)  # starting took a while
                await made.start()
                [found] = await self._containers({"id": [made.id]})
            except BaseException:
                await asyncio.shield(self._delete(made))
                raise
        return container.running(found)

    async def stop(self, worker: str, fence: int, *, kill: bool = False) -> None:
        """Send SIGTERM, on which a worker drains, or SIGKILL. Raises `Fenced`."""
        await self._pass(fence)
        async with _asking(f"{worker} cannot be stopped"):
            try:
                found = self._docker.containers.container(f"headway-{self._pool}-{worker}")
                await found.kill(signal="SIGKILL" if kill else "SIGTERM")
            except DockerError as error:
                if error.status not in _GONE:
                    raise

    async def keep(self, launches: Collection[Launch], fence: int) -> None:
        """Do nothing: containers start from their image, and nothing else is kept ready."""

    async def exits(self) -> AsyncIterator[ExitedWorker]:
        """Yield the ended workers, each once."""
        while True:
            while self._exited.empty():
                with contextlib.suppress(ScalerError):  # the next poll reports it
                    await self.list()
                await asyncio.sleep(_LOOK)
            yield self._exited.get_nowait()

    async def close(self) -> None:
        """Stop watching. Workers keep running."""
        await tasks.end(list(self._ends))
        await self._docker.close()

    async def _prepared(self, launch: Launch) -> str:
        """Return the image id of a launch, once a probe has imported the service."""
        key = launch_id(launch)
        async with self._preparing.setdefault(key, asyncio.Lock()):
            if key not in self._pinned:
                what = f"{launch.service} {launch.version} cannot be started"
                async with _asking(what):
                    image = await self._image(launch)
                    code, said = await self._probe(launch, image)
                if code:
                    raise LaunchFailed(f"{what}: {' / '.join(said) or f'exit code {code}'}")
                self._pinned[key] = image
            return self._pinned[key]

    async def _image(self, launch: Launch) -> str:
        """Return the id of a Docker image, which is a digest: tags move."""
        if launch.image is None:
            return str((await self._docker.images.inspect(self._worker_image))["Id"])
        found = await self._docker.images.list(filters={"label": [f"{container.IMAGE}={launch.image}"]})
        if not found:
            raise LaunchFailed(
                f"there is no Docker image of {launch.service} {launch.version} ({launch.image[:12]})",
                remedy="build one with `headway image build --docker`",
            )
        return str(max(found, key=lambda one: one["Created"])["Id"])

    async def _probe(self, launch: Launch, image: str) -> tuple[int, Sequence[str]]:
        made = await self._docker.containers.create(container.probe(launch, image))
        try:
            await made.put_archive(container.GIVEN, container.given(launch))
            await made.start()
            ended = await made.wait(timeout=PROBE_TIMEOUT)
            return int(ended["StatusCode"]), await _said(made)
        finally:
            await asyncio.shield(self._delete(made))

    async def _pass(self, fence: int) -> None:
        """Refuse former leaders, and store the newest epoch.

        The epoch is stored in the name of a volume, since the daemon keeps volumes independently of containers.

        Raises:
            Fenced: if a newer leader has spoken.
        """
        async with _asking("the leader's epoch is unknown"):
            found = await self._docker.volumes.list(filters={"label": [f"{container.EPOCH}={self._pool}"]})
            epochs = {int(one["Name"].rpartition("-")[2]): one["Name"] for one in found["Volumes"] or []}
            newest = max(epochs, default=0)
            if newest > fence:
                raise Fenced(f"epoch {fence} is over, {newest} leads")
            if newest < fence:
                name = f"headway-epoch-{self._pool}-{fence}"
                await self._docker.volumes.create({"Name": name, "Labels": {container.EPOCH: self._pool}})
                for older in epochs.values():
                    with contextlib.suppress(DockerError):  # another scaler has removed it
                        await (await self._docker.volumes.get(older)).delete()

    async def _containers(self, filters: Mapping[str, Sequence[str]]) -> Sequence[dict[str, Any]]:
        async with _asking("Docker does not list its containers"):
            listed = await self._docker.containers.list(all="1", filters=clean_filters(filters))
            return [one._container for one in listed]  # noqa: SLF001  # noqa: SLF001  # aiodocker has no public method for it

    def _end_of(self, found: dict[str, Any]) -> None:
        if found["Id"] not in self._told:
            self._told.add(found["Id"])
            task = asyncio.ensure_future(self._tell(found["Id"], found["Labels"]))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def _tell(self, id_: str, labels: dict[str, str]) -> None:
        """Report the end of a worker, and remove its container."""
        ended = self._docker.containers.container(id_)
        try:
            code = int((await ended.show())["State"]["ExitCode"])
            self._exited.put_nowait(container.exited(labels, code, await _said(ended)))
            await asyncio.sleep(_LINGER)
            await self._delete(ended)
        except (DockerError, aiohttp.ClientError, TimeoutError) as error:
            if not (isinstance(error, DockerError) and error.status in _GONE):
                _log.warning("reading the end of %s failed, trying again: %r", labels[container.WORKER], error)
                self._told.discard(id_)

    async def _delete(self, made: DockerContainer) -> None:
        with contextlib.suppress(DockerError, aiohttp.ClientError, TimeoutError):
            await made.delete(force=True, v=True)


async def _said(ended: DockerContainer) -> list[str]:
    """Return the last lines that a container wrote."""
    return [line.rstrip() for line in await ended.log(stdout=True, stderr=True, tail=TAIL) if line.strip()]


@asynccontextmanager
async def _asking(what: str) -> AsyncIterator[None]:
    """Turn errors of the daemon and of the connection to it into `ScalerError`."""
    try:
        yield
    except DockerError as error:
        raise LaunchFailed(f"{what}: {error.message}", remedy="see `docker info` and the daemon's log") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        remedy = "check that `docker info` works"
        raise ScalerError(f"{what}: no answer from Docker: {error!r}", remedy=remedy) from error
