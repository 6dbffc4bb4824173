"""A service in several versions on a real server, workers that follow the control records, callers, and deployers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from headway import Context, Retry, Service
from headway.bus.errors import CallError, HeadwayError
from headway.bus.tasks import end
from headway.bus.worker.worker import Worker
from headway.control.records import Criteria, Margin, RolloutRecord, Scale, ServiceRecord, VersionRecord
from headway.control.store import Control, rollout_key, service_key, version_key
from headway.deployer.rollout import requests as ask
from headway.deployer.rollout.deployer import Deployer

SERVICE = "app"
PERIOD = 0.1
TTL = 1.0
EASY = Criteria(requests=10, margin=Margin(odds=100, points=0.5, latency=100, seconds=10))
"""Any version that works for most of a few requests is shown to be good enough: for what is not about judging."""
IDLE = Criteria(patience=0.5, thin="promote")
"""A version goes on without traffic."""


class Ask(BaseModel):
    n: int = 0


class Answer(BaseModel):
    version: str


@dataclass
class Behaviour:
    """How a version behaves."""

    fails: float = 0.0
    backoff: tuple[float, ...] = (1, 5, 30, 120)
    takes: float = 0.0
    starts: bool = True
    grace: float = 2.0
    operations: tuple[str, ...] = ("status",)
    jobs: bool = True
    asks: type[BaseModel] = Ask


class Place:
    """All of it.

    Attributes:
        behaviour: of each version; what is not set behaves well.
        done: by job number, the versions that have done it.
        answered: calls by the version that answered.
        failed: calls that brought no result, by the version that was asked for them, if it is known.
    """

    def __init__(self, broker, bus, until) -> None:
        self.broker, self.bus, self.until = broker, bus, until
        self.control = Control(bus)
        self.behaviour: dict[str, Behaviour] = {}
        self.done: dict[int, list[str]] = {}
        self.began: dict[int, list[str]] = {}
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.submitted: set[int] = set()
        self.deployers: list[tuple[Deployer, asyncio.Task, asyncio.Event, object]] = []
        self.workers: dict[str, list[tuple[Worker, object]]] = {}
        self._starting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.numbers = itertools.count()
        self.random = random.Random(1)
        self._tasks: list[asyncio.Task] = []
        self.follows = True
        self.leaving = 0
        self.service_name = SERVICE

    @classmethod
    @asynccontextmanager
    async def beside(cls, broker, bus, until) -> AsyncIterator[Place]:
        """A place whose workers follow the records until the block is left."""
        made = cls(broker, bus, until)
        following = asyncio.ensure_future(made.follow())
        try:
            yield made
        finally:
            await end([following])
            await made.close()

    # The service.

    def service(self, version: str, name: str = SERVICE) -> Service:
        place, behaviour = self, self.behaviour.setdefault(version, Behaviour())
        # All share one event loop here: on a busy machine it may stand still for longer than a second.
        app = Service(name, ack_wait=5, concurrency=8)

        @app.on_start
        async def start(_info) -> None:
            if not behaviour.starts:
                raise RuntimeError("no line to the telephone company")

        async def status(request: Ask, ctx: Context) -> Answer:
            await place.behave(version)
            return Answer(version=ctx.version)

        for operation in behaviour.operations:
            app.rpc(operation, timeout=5)(status)
        if behaviour.jobs:

            async def send(request: Ask, ctx: Context) -> None:
                place.began.setdefault(request.n, []).append(version)
                await place.behave(version)
                place.done.setdefault(request.n, []).append(version)

            send.__annotations__["request"] = behaviour.asks
            app.job("send", timeout=60, retry=Retry(backoff=behaviour.backoff))(send)

        return app

    async def behave(self, version: str) -> None:
        behaviour = self.behaviour[version]
        await asyncio.sleep(behaviour.takes)
        if self.random.random() < behaviour.fails:
            raise RuntimeError("frozen to fail")

    # What the scaler does.

    async def follow(self) -> None:
        """Have as many workers as the records say."""
        while True:
            with contextlib.suppress(HeadwayError):
                await self.control.refresh()
                if self.follows:
                    await asyncio.gather(*(self.adjust(record) for record in list(self.control.versions.values())))
            await asyncio.sleep(0.05)

    async def adjust(self, record: VersionRecord) -> None:
        service = self.control.services.get(record.service)
        low = service.scale.min if service is not None else 0
        wanted = max(record.minimum, low) if record.phase == "live" else 0
        key = f"{record.service} {record.version}"
        here = self.workers.setdefault(key, [])
        async with self._starting[key]:
            await self.start(record, wanted, here)
        leaving = [here.pop() for _ in range(len(here) - wanted)]
        self.leaving += len(leaving)
        await asyncio.gather(*(self.leave(worker, bus) for worker, bus in leaving))
        self.leaving -= len(leaving)

    async def start(self, record: VersionRecord, wanted: int, here: list[tuple[Worker, object]]) -> None:
        while len(here) < wanted:
            bus = await self.broker.connect("worker", service=record.service)
            grace = self.behaviour.setdefault(record.version, Behaviour()).grace
            worker = Worker(self.service(record.version, record.service), bus, version=record.version, grace=grace)
            try:
                await worker.__aenter__()
            except RuntimeError:
                await bus.close()
                return
            here.append((worker, bus))

    async def leave(self, worker, bus) -> None:
        await worker.__aexit__(None, None, None)
        await bus.close()

    async def kill(self, version: str, name: str = SERVICE) -> None:
        """Cut all workers of a version off at once, as kill -9 would: nothing is drained or handed back."""
        key = f"{name} {version}"
        async with self._starting[key]:  # one that answers may not be in the list yet
            for _, bus in self.workers.pop(key, []):
                await bus.nc.close()

    # What people do.

    async def declare(self, version: str = "v1", workers: int = 1, name: str = SERVICE) -> None:
        """A service with one version that has all traffic, as `headway up` makes it."""
        scale = Scale.fixed(workers)
        await self.control.put(service_key(name), ServiceRecord(service=name, scale=scale, calls=True))
        record = self.version(version, name).model_copy(update={"weight": 100})
        await self.control.put(version_key(name, version), record)
        await self.broker.change_route(name, {version: 100})
        await self.until(lambda: self.bus_answers(name, version))

    async def bus_answers(self, name: str, version: str) -> bool:
        try:
            answer = await self.bus.call(name, "status", {}, tenant="t", timeout=2)
        except CallError:
            return False
        return answer["version"] == version

    def version(self, version: str, name: str = SERVICE) -> VersionRecord:
        return VersionRecord(service=name, version=version, app="made:app", root="/nowhere", grace=2)

    async def deploy(self, version: str, name: str = SERVICE, **options) -> RolloutRecord:
        options = {"bake": 0.0, "window": 0.0, "criteria": EASY, **options}
        return await ask.deploy(self.control, self.version(version, name), **options)

    async def record(self, name: str = SERVICE) -> RolloutRecord:
        found = await self.control.get(rollout_key(name), RolloutRecord)
        assert found is not None
        return found.value

    async def reached(self, *phases: str, name: str = SERVICE, timeout: float = 45) -> RolloutRecord:
        """Wait until the rollout is in a phase."""

        async def there() -> RolloutRecord | None:
            for _, task, *_ in self.deployers:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    raise task.exception()
            record = await self.record(name)
            return record if record.phase in phases else None

        try:
            return await self.until(there, timeout)
        except TimeoutError:
            record = await self.record(name)
            pytest.fail(f"{record.phase} after {timeout} s: {record.model_dump_json(indent=1)}")

    async def route(self, name: str = SERVICE) -> dict[str, int]:
        return (await self.broker.routes()).get(name, {})

    async def route_is(self, wanted: dict[str, int], name: str = SERVICE) -> bool:
        return await self.route(name) == wanted

    async def deployer(self, prove=None, **options) -> Deployer:
        bus = await self.broker.connect("control")
        stop = asyncio.Event()
        made = Deployer(
            bus,
            self.broker,
            holder=f"deployer-{len(self.deployers)}",
            prove=prove or proven,
            period=PERIOD,
            ttl=TTL,
            **options,
        )
        self.deployers.append((made, asyncio.ensure_future(made.run(stop)), stop, bus))
        return made

    # Load.

    async def load(self, *, calls: int = 4, jobs: int = 2, name: str = SERVICE) -> Callable[[], object]:
        """Callers and submitters, until what is returned is awaited."""
        stop = asyncio.Event()
        clients = [await self.broker.connect("client", tenant=f"t{n}") for n in range(2)]

        async def call(n: int) -> None:
            client = clients[n % 2].tenant(f"t{n % 2}")
            while not stop.is_set():
                try:
                    answer = await client.call(name, "status", {}, timeout=5)
                    self.answered[answer["version"]] += 1
                except CallError as error:
                    self.failed[type(error).__name__] += 1
                await asyncio.sleep(0.005)

        async def submit(n: int) -> None:
            client = clients[n % 2].tenant(f"t{n % 2}")
            while not stop.is_set():
                number = next(self.numbers)
                await client.submit(name, "send", {"n": number})
                self.submitted.add(number)
                await asyncio.sleep(0.01)

        tasks = [asyncio.ensure_future(call(n)) for n in range(calls)]
        tasks += [asyncio.ensure_future(submit(n)) for n in range(jobs)]
        self._tasks += tasks

        async def end() -> None:
            stop.set()
            await asyncio.gather(*tasks)
            for client in clients:
                await client.close()

        return end

    async def all_done(self, timeout: float = 45) -> None:
        """Wait until each job was done."""
        try:
            await self.until(lambda: self.submitted <= self.done.keys(), timeout)
        except TimeoutError:
            missing = sorted(self.submitted - self.done.keys())
            pytest.fail(f"{len(missing)} jobs were never done: {missing[:9]}")

    @property
    def twice(self) -> list[int]:
        """Jobs that were done more than once."""
        return [n for n, versions in self.done.items() if len(versions) > 1]

    async def close(self) -> None:
        await end(self._tasks)
        for _, task, stop, bus in self.deployers:
            stop.set()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await task
            await bus.close()
        leaving = [pair for pairs in self.workers.values() for pair in pairs]
        for worker, _ in leaving:
            worker.hurry()
        await asyncio.gather(*(self.leave(*pair) for pair in leaving), return_exceptions=True)


async def proven(_record, _new, _old) -> None:
    """Images are tested elsewhere."""
