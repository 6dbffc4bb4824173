"""What every driver must keep. A driver's tests inherit `DriverContract` and give it a fixture `place`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.scaler.drivers.driver import Driver, ExitedWorker, Launch, RunningWorker
from headway.scaler.errors import Fenced, LaunchFailed

DEADLINE = 30.0

SOURCE = """
import asyncio, os
from pydantic import BaseModel
from headway import Context, Service

class Config(BaseModel):
    die: bool = False
    greeting: str = ""

app = Service("app", config=Config, ack_wait=5)

class Ask(BaseModel):
    seconds: float = 0

@app.on_start
async def start(info):
    if info.config.die:
        raise RuntimeError("no line to the telephone company")

@app.rpc("who")
async def who(request: Ask, ctx: Context) -> str:
    return ctx.worker

@app.rpc("told")
async def told(request: Ask, ctx: Context) -> list[str]:
    return [ctx.config(Config).greeting, os.environ.get("MARK", "")]

@app.job("work")
async def work(request: Ask, ctx: Context) -> None:
    await asyncio.sleep(request.seconds)
"""


class Place:
    """Where a driver runs workers.

    Attributes:
        bus: an operator's connection.
        launch: a version of the service in `SOURCE`.
    """

    def __init__(self, bus: Bus, launch: Launch) -> None:
        self.bus = bus
        self.launch = launch

    def driver(self) -> Driver:
        """One more driver of the same place."""
        raise NotImplementedError

    async def kill(self, running: RunningWorker) -> None:
        """End a worker behind the driver's back, as the system does when memory is short."""
        raise NotImplementedError

    def configured(self, **config: object) -> Launch:
        """The same version with another configuration."""
        return replace(self.launch, config=config)

    async def serves(self, worker: str) -> None:
        """Wait until a worker answers."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    if await self.bus.call("app", "who", {}, tenant="t", timeout=1) == worker:
                        return
                except Exception:
                    await asyncio.sleep(0.005)


async def ended(driver: Driver) -> ExitedWorker:
    """The next end that a driver tells of."""
    async with asyncio.timeout(DEADLINE):
        return await anext(driver.exits())


async def nothing_more(driver: Driver) -> None:
    """No further end is told."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await anext(driver.exits())


async def launch_of(broker: Broker, path: Path) -> Launch:
    """A launch of the service in `SOURCE`, written to a directory, with a worker's rights, and routed."""
    (path / "made.py").write_text(SOURCE)
    creds = path / "worker.creds"
    creds.write_text(broker.identities.creds("worker", service="app"))
    await broker.set_routes({"app": {"v1": 100}})
    return Launch(
        service="app",
        version="v1",
        app="made:app",
        root=str(path),
        grace=5,
        environment={"HEADWAY_NATS_URL": broker.url, "HEADWAY_NATS_CREDS": str(creds)},
    )


class DriverContract:
    """The tests."""

    async def test_a_spawned_worker_is_listed_and_serves(self, place):
        driver = place.driver()
        running = await driver.spawn(place.launch, "w1", fence=1)
        assert (running.worker, running.service, running.version) == ("w1", "app", "v1")
        assert await driver.list() == [running]
        await place.serves("w1")

    async def test_a_worker_has_its_versions_configuration_and_environment(self, place):
        launch = place.configured(greeting="good day")
        environment = {**launch.environment, "MARK": "here"}
        await place.driver().spawn(replace(launch, environment=environment), "w1", fence=1)
        await place.serves("w1")
        assert await place.bus.call("app", "told", {}, tenant="t") == ["good day", "here"]

    async def test_a_version_may_be_prepared_any_number_of_times(self, place):
        driver = place.driver()
        await asyncio.gather(driver.prepare(place.launch), driver.prepare(place.launch))
        await driver.prepare(place.launch)
        assert await driver.list() == [], "nothing runs of it yet"
        await driver.spawn(place.launch, "w1", fence=1)
        await place.serves("w1")

    async def test_a_stopped_worker_finishes_what_it_has_in_hand_and_its_end_is_told(self, place, until):
        driver = place.driver()
        await driver.spawn(place.launch, "w1", fence=1)
        await place.serves("w1")
        js = place.bus.js
        await place.bus.submit("app", "work", {"seconds": 0.5}, tenant="t")

        async def in_hand() -> bool:
            return any(consumer.num_ack_pending for consumer in await js.consumers_info("JOBS_app"))

        await until(in_hand)
        await driver.stop("w1", fence=1)
        end = await ended(driver)
        assert (end.worker, end.service, end.version, end.code) == ("w1", "app", "v1", 0)
        assert (await js.stream_info("JOBS_app")).state.messages == 0, "what was in hand was finished"
        assert await driver.list() == []
        await nothing_more(driver)

    async def test_a_worker_can_be_ended_at_once(self, place):
        driver = place.driver()
        await driver.spawn(place.launch, "w1", fence=1)
        await place.serves("w1")
        await place.bus.submit("app", "work", {"seconds": 600}, tenant="t")
        await driver.stop("w1", fence=1, kill=True)
        end = await ended(driver)
        assert (end.worker, end.code) == ("w1", -9)

    async def test_stopping_one_that_is_gone_or_never_was_is_fine(self, place):
        driver = place.driver()
        await driver.spawn(place.launch, "w1", fence=1)
        await driver.stop("w1", fence=1, kill=True)
        await ended(driver)
        await driver.stop("w1", fence=1)
        await driver.stop("nobody", fence=1, kill=True)
        await nothing_more(driver)

    async def test_a_killed_worker_is_told_of(self, place):
        driver = place.driver()
        await place.kill(await driver.spawn(place.launch, "w1", fence=1))
        assert (await ended(driver)).code == -9
        assert await driver.list() == []

    async def test_a_worker_that_cannot_start_says_why(self, place):
        driver = place.driver()
        await driver.spawn(place.configured(die=True), "w1", fence=1)
        end = await ended(driver)
        assert end.code == 1
        assert any("no line to the telephone company" in line for line in end.stderr)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"app": "nowhere:app"}, "no module nowhere"),
            ({"service": "other"}, "is service 'app', not 'other'"),
        ],
    )
    async def test_a_version_that_cannot_be_imported_is_refused_with_its_reason(self, place, change, message):
        wrong = replace(place.launch, **change)
        driver = place.driver()
        with pytest.raises(LaunchFailed, match=message):
            await driver.prepare(wrong)
        with pytest.raises(LaunchFailed, match=message):
            await driver.spawn(wrong, "w1", fence=1)
        assert await driver.list() == []

    async def test_a_name_is_used_once(self, place):
        one, two = place.driver(), place.driver()
        await one.spawn(place.launch, "w1", fence=1)
        with pytest.raises(LaunchFailed, match="a worker w1 exists already"):
            await two.spawn(place.launch, "w1", fence=1)
        assert [w.worker for w in await two.list()] == ["w1"]

    async def test_workers_outlive_their_driver_and_another_one_adopts_them(self, place):
        first = place.driver()
        running = await first.spawn(place.launch, "w1", fence=1)
        await first.close()
        second = place.driver()
        assert await second.list() == [running]
        await place.serves("w1")
        await second.stop("w1", fence=2)
        assert (await ended(second)).worker == "w1"
        assert await second.list() == []

    async def test_one_that_died_while_nobody_looked_is_told_of_once(self, place, until):
        first = place.driver()
        running = await first.spawn(place.launch, "w1", fence=1)
        await first.close()
        await place.kill(running)
        second = place.driver()

        async def nobody_lives() -> bool:
            return not await second.list()

        await until(nobody_lives)
        assert (await ended(second)).worker == "w1"
        await nothing_more(second)

    async def test_a_former_leader_is_refused(self, place):
        old, new = place.driver(), place.driver()
        await old.lead(1)
        await old.spawn(place.launch, "w1", fence=1)
        await new.lead(2)
        with pytest.raises(Fenced, match="epoch 1 is over"):
            await old.spawn(place.launch, "w2", fence=1)
        with pytest.raises(Fenced, match="epoch 1 is over"):
            await old.stop("w1", fence=1)
        with pytest.raises(Fenced, match="epoch 1 is over"):
            await old.lead(1)
        assert [w.worker for w in await new.list()] == ["w1"]
        await new.spawn(place.launch, "w2", fence=2)
        assert {w.worker for w in await old.list()} == {"w1", "w2"}
