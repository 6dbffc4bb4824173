"""Periodic jobs on a real server: each run once, over workers, restarts and leaders; only Headway starts them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from contextlib import asynccontextmanager

import nats.errors

from headway import Context, Service, Tick
from headway.broker import testing
from headway.bus.client.connection import connect
from headway.bus.tasks import end
from headway.bus.worker.worker import Worker
from headway.control.records import ScheduleRecord
from headway.control.store import Control, schedule_key
from headway.scheduler.scheduler import Scheduler

START = 1_780_000_000.0


class Clock:
    """A clock that runs faster than time; `forward` sets it ahead."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.began = time.monotonic()
        self.added = 0.0

    def __call__(self) -> float:
        return START + self.added + (time.monotonic() - self.began) * self.speed

    def forward(self, seconds: float) -> None:
        self.added += seconds


class Runs:
    """A service with a periodic job, and which of its runs were made."""

    def __init__(self, *, seconds: float = 0, expression: str = "", **options) -> None:
        self.seen: list[tuple[float, str, int]] = []
        self.app = Service("app", ack_wait=2)
        declare = self.app.cron(expression, **options) if expression else self.app.every(seconds, **options)

        @declare
        async def work(tick: Tick, ctx: Context) -> None:
            self.seen.append((tick.at.timestamp(), ctx.tenant, ctx.attempt))

    @property
    def ticks(self) -> Counter[float]:
        return Counter(at for at, _, _ in self.seen)


@asynccontextmanager
async def scheduling(broker, clock: Clock, name: str = "one", url: str | None = None, *, ttl: float = 1.0, dies=False):
    async with await connect(url or broker.url, creds=broker.identities.creds("control")) as bus:
        scheduler = Scheduler(bus, holder=name, period=0.1, ttl=ttl, clock=clock)
        task = asyncio.ensure_future(scheduler.run())
        try:
            yield scheduler
        finally:
            if dies:
                await bus.nc.close()  # as if it was killed: it cannot give up its lease
            await end([task])


async def stored(bus) -> int:
    """How many jobs were ever stored for the service."""
    with contextlib.suppress(nats.errors.Error):
        return (await bus.js.stream_info("JOBS_app")).state.last_seq
    return -1


PROCESS = """
from pathlib import Path
from headway import Context, Service, Tick

app = Service("app", ack_wait=2)

@app.every(60, missed="run-all")
async def work(tick: Tick, ctx: Context) -> None:
    with Path("runs.txt").open("a") as told:
        told.write(f"{tick.at.timestamp()} {ctx.tenant} {ctx.attempt}\\n")
"""
"""The same service as `Runs`, for workers that are processes; they tell of each run in a file."""


async def test_of_a_thousand_ticks_each_one_runs_once_over_ten_workers_and_five_deaths(bus, until, spawn, tmp_path):
    runs, clock = Runs(seconds=60, missed="run-all"), Clock(speed=60 * 25)

    def told() -> list[tuple[float, str, int]]:
        lines = (tmp_path / "runs.txt").read_text().splitlines() if (tmp_path / "runs.txt").exists() else []
        return runs.seen + [(float(at), tenant, int(n)) for at, tenant, n in map(str.split, lines)]

    def ticks() -> set[float]:
        return {at for at, _, _ in told()}

    await bus.broker.set_routes({"app": {"v1": 100}})
    async with (
        bus.serving(runs.app, workers=5),
        scheduling(bus.broker, clock, "spare"),
    ):
        victims = [await spawn(bus.broker, PROCESS) for _ in range(5)]
        for turn, victim in enumerate(victims):
            async with scheduling(bus.broker, clock, f"short-{turn}", dies=True):
                await until(lambda turn=turn: len(ticks()) >= 180 * (turn + 1))
                await victim.kill()
        await until(lambda: len(ticks()) >= 1000, timeout=60)
        await until(lambda: emptied(bus))
    ordered = sorted(ticks())
    assert ordered == [ordered[0] + 60 * n for n in range(len(ordered))], "none is left out"
    assert await stored(bus.bus) == len(ordered), "none was submitted twice"
    often = {at for at, n in Counter(at for at, _, _ in told()).items() if n > 1}
    assert all(n == 1 for n in runs.ticks.values()), "nothing ran twice on workers that live"
    assert len(often) <= len(victims) * 4, "only what a dead worker had finished and not acknowledged ran again"
    assert {tenant for _, tenant, _ in told()} == {"headway"}


async def emptied(bus) -> bool:
    return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0


async def test_a_cron_job_runs_at_its_time_in_its_zone_and_goes_on_while_no_worker_runs(bus, until):
    runs, clock = Runs(expression="0 3 * * *", tz="Europe/Berlin"), Clock()
    async with scheduling(bus.broker, clock):
        async with bus.serving(runs.app):
            await until(lambda: known(bus))
        clock.forward(86_400)
        await until(lambda: _stored(bus, 1))
        assert runs.seen == []
        async with bus.serving(runs.app):
            await until(lambda: runs.seen)
    [(at, tenant, attempt)] = runs.seen
    assert (tenant, attempt) == ("headway", 1)
    assert START < at <= START + 86_400 + 60
    assert time.strftime("%H:%M", time.gmtime(at)) == "01:00", "03:00 in Berlin in summer"


async def known(bus) -> bool:
    found = await Control(bus.bus).get(schedule_key("app"), ScheduleRecord)
    return found is not None and "work" in found.value.jobs


async def _stored(bus, number: int) -> bool:
    return await stored(bus.bus) == number


async def test_a_missed_run_is_made_up_for_once_after_an_outage_of_all_schedulers(bus, until):
    runs, clock = Runs(expression="0 * * * *"), Clock()
    async with bus.serving(runs.app):
        async with scheduling(bus.broker, clock):
            await until(lambda: known(bus))
        clock.forward(10 * 3600)
        async with scheduling(bus.broker, clock, "another"):
            await until(lambda: runs.seen)
            await asyncio.sleep(0.5)
    assert len(runs.seen) == 1
    assert 0 <= START + 10 * 3600 + 60 - runs.seen[0][0] < 3600 + 60


async def test_a_suspended_or_paused_job_does_not_run(bus, until):
    runs, clock = Runs(seconds=1, missed="run-all"), Clock()
    control = Control(bus.bus)
    async with bus.serving(runs.app), scheduling(bus.broker, clock):
        await until(lambda: runs.seen)

        def paused(record: ScheduleRecord) -> ScheduleRecord:
            state = record.jobs["work"].model_copy(update={"paused": True})
            return record.model_copy(update={"jobs": {"work": state}})

        await control.change(schedule_key("app"), ScheduleRecord, paused)
        await asyncio.sleep(0.5)
        before = len(runs.seen)
        await asyncio.sleep(2)
        assert len(runs.seen) <= before + 1
        found = await control.get(schedule_key("app"), ScheduleRecord)
        assert found.value.jobs["work"].paused


async def test_an_application_cannot_start_a_periodic_job(bus, until, letters):
    runs = Runs(seconds=3600)
    async with bus.serving(runs.app), await bus.broker.connect("client", tenant="acme") as client:
        await client.submit("app", "work", {"at": "2026-01-01T00:00:00Z"}, tenant="acme")
        [letter] = await letters(1)
    assert (letter.tenant, letter.cause) == ("acme", "rejected")
    assert runs.seen == []


async def test_in_a_cluster_each_tick_runs_once_while_servers_and_leaders_die(until):
    runs, clock = Runs(seconds=60, missed="run-all"), Clock(speed=60 * 20)
    async with testing.cluster() as cluster:
        creds = cluster.broker.identities.creds
        first, second, third = cluster.servers
        everywhere = f"{first.url},{second.url},{third.url}"
        async with (
            await connect(f"{second.url},{third.url}", creds=creds("worker", service="app")) as serving,
            Worker(runs.app, serving, version="v1"),
            scheduling(cluster.broker, clock, "one", everywhere, ttl=2.0),
            scheduling(cluster.broker, clock, "two", f"{third.url},{second.url}", ttl=2.0),
        ):
            await cluster.broker.set_routes({"app": {"v1": 100}})
            await until(lambda: len(runs.ticks) >= 40)
            await first.kill()
            reached = len(runs.ticks)
            await until(lambda: len(runs.ticks) >= reached + 100)
            ticks = sorted(runs.ticks)
            assert ticks == [ticks[0] + 60 * n for n in range(len(ticks))]
            again = {at for at, n in runs.ticks.items() if n > 1}
            assert again <= {at for at, _, attempt in runs.seen if attempt > 1}
