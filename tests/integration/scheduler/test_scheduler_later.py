"""Jobs for later on a real server: never early, once, for whichever version serves then, and safe from others."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from contextlib import asynccontextmanager

import nats.errors
import orjson
import pytest

from headway import Context, Service
from headway.broker import testing
from headway.bus.client import dead
from headway.bus.client.connection import connect
from headway.bus.nats.streams import LATER
from headway.bus.tasks import end
from headway.bus.worker.worker import Worker
from headway.scheduler import later as jobs_for_later
from headway.scheduler.scheduler import Scheduler
from headway.status import later as counted


class Seen:
    """A service that keeps when each job began, by which version, and with which id."""

    def __init__(self, **options) -> None:
        self.options = options
        self.began: dict[object, list[float]] = {}
        self.told: list[tuple[object, str, str, str]] = []

    def service(self) -> Service:
        app = Service("app", **self.options)

        @app.job("work")
        async def work(request: object, ctx: Context) -> None:
            self.began.setdefault(request, []).append(time.time())
            self.told.append((request, ctx.tenant, ctx.version, ctx.id))

        return app


@asynccontextmanager
async def scheduling(broker, name: str = "one", url: str | None = None):
    made = broker.identities.creds("control")
    async with await connect(url or broker.url, creds=made) as bus:
        scheduler = Scheduler(bus, holder=name)
        task = asyncio.ensure_future(scheduler.run())
        try:
            yield scheduler
        finally:
            await end([task])


async def test_jobs_for_later_are_never_early_and_soon_after_their_time_while_thousands_wait(bus, until):
    seen = Seen()
    async with bus.serving(seen.service()), scheduling(bus.broker):
        acme = bus.bus.tenant("acme")
        for _ in range(10):
            await asyncio.gather(*(acme.submit("app", "work", -1, delay=3600) for _ in range(300)))
        due = {}
        for n in range(100):
            due[n] = time.time() + 1 + n / 100
            await acme.submit("app", "work", n, delay=due[n] - time.time())
        await until(lambda: len(seen.began) == 100)
        late = [seen.began[n][0] - due[n] for n in due]
        assert min(late) >= 0
        assert statistics.median(late) < 0.25
        assert {len(times) for times in seen.began.values()} == {1}
        await until(lambda: _left(bus.bus, 3000))
        assert await counted(bus.bus) == {"app": 3000}
        assert (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0


async def _left(bus, number: int) -> bool:
    """Whether so many jobs for later are stored; while a cluster elects a leader, nobody knows."""
    with contextlib.suppress(nats.errors.Error):
        return (await bus.js.stream_info(LATER)).state.messages == number
    return False


async def test_a_job_for_later_has_the_id_of_its_key_and_is_stored_once_under_it(bus, until):
    seen = Seen()
    async with bus.serving(seen.service()), scheduling(bus.broker):
        first, again = [await bus.bus.tenant("acme").submit("app", "work", 1, key="k", delay=0.3) for _ in range(2)]
        assert (first.stream, first.duplicate, again.duplicate) == (LATER, False, True)
        await until(lambda: seen.told)
        [(request, tenant, version, id_)] = seen.told
        assert (request, tenant, version) == (1, "acme", "v1")
        assert id_.startswith("acme.app.work.k.")


async def test_a_job_for_later_goes_to_the_version_that_serves_when_it_is_due(bus, until):
    old, new = Seen(), Seen()
    async with bus.serving(old.service(), version="v1"), scheduling(bus.broker):
        await bus.bus.submit("app", "work", 1, tenant="acme", delay=2)
        async with bus.serving(new.service(), version="v2", weights={"v2": 100}):
            await until(lambda: new.told)
    assert [version for _, _, version, _ in new.told] == ["v2"]
    assert old.told == []


async def test_a_handler_submits_a_job_for_later_for_its_own_tenant(bus, until):
    told, app = [], Service("app")

    @app.job("first")
    async def first(request: int, ctx: Context) -> None:
        await ctx.submit("app", "second", request + 1, delay=0.2)

    @app.job("second")
    async def second(request: int, ctx: Context) -> None:
        told.append((request, ctx.tenant))

    async with bus.serving(app), scheduling(bus.broker):
        await bus.submit("app", "first", 1, tenant="globex")
        await until(lambda: told)
    assert told == [(2, "globex")]


async def test_another_scheduler_takes_over_and_each_job_still_runs_once(bus, until):
    seen = Seen()
    async with bus.serving(seen.service()), scheduling(bus.broker, "spare"):
        for turn in range(3):
            async with scheduling(bus.broker, f"short-{turn}"):
                await asyncio.gather(
                    *(bus.bus.submit("app", "work", turn * 1000 + n, tenant="acme", delay=n / 100) for n in range(100))
                )
                await asyncio.sleep(0.5)
        await until(lambda: _left(bus.bus, 0))
        await until(lambda: len(seen.told) >= 300)
    assert Counter(request for request, *_ in seen.told) == {
        turn * 1000 + n: 1 for turn in range(3) for n in range(100)
    }


async def test_a_job_for_later_waits_while_its_queue_is_full_and_holds_up_no_other_tenant(bus, until, monkeypatch):
    monkeypatch.setattr(jobs_for_later, "_BACK_OFF", (0.1, 0.2))
    seen = Seen(queue_per_subject=1)
    async with scheduling(bus.broker):
        async with bus.serving(seen.service()):
            pass  # its queue is there, and nobody works on it
        for n in range(60):
            await bus.bus.submit("app", "work", n, tenant="acme", delay=0)
        await bus.bus.submit("app", "work", 99, tenant="globex", delay=0.3)
        await until(lambda: _queued(bus, ".globex.work"))
        await until(lambda: _left(bus.bus, 59))
        async with bus.serving(seen.service()):
            await until(lambda: len(seen.began) == 61)
    assert {len(times) for times in seen.began.values()} == {1}


async def _queued(bus, end_: str) -> bool:
    info = await bus.bus.js.stream_info("JOBS_app", subjects_filter=">")
    return any(subject.endswith(end_) for subject in info.state.subjects or {})


async def test_a_job_for_later_of_a_service_that_never_comes_becomes_a_dead_letter_that_can_be_replayed(
    bus, until, letters, monkeypatch
):
    for name, value in (("GIVE_UP", 0.2), ("_TRIES", 2), ("_BACK_OFF", (0.1, 0.1)), ("_STORE_TIMEOUT", 0.1)):
        monkeypatch.setattr(jobs_for_later, name, value)
    async with scheduling(bus.broker):
        await bus.bus.submit("app", "work", {"n": 1}, tenant="acme", delay=0.1)
        [letter] = await letters(1)
        assert (letter.service, letter.tenant, letter.operation, letter.cause) == ("app", "acme", "work", "not_served")
        assert orjson.loads(letter.payload) == {"n": 1}
        await until(lambda: _left(bus.bus, 0))
        told, app = [], Service("app")

        @app.job("work")
        async def work(request: dict[str, int]) -> None:
            told.append(request)

        async with bus.serving(app):
            await dead.replay(bus.bus, letter)
            await until(lambda: told == [{"n": 1}])


async def test_jobs_for_later_survive_a_restart_of_the_server(nats_broker, until):
    seen = Seen()
    async with (
        await nats_broker.connect("operator") as bus,
        await nats_broker.connect("worker", service="app") as serving,
        Worker(seen.service(), serving, version="v1"),
        scheduling(nats_broker),
    ):
        await nats_broker.set_routes({"app": {"v1": 100}})
        for n in range(50):
            await bus.submit("app", "work", n, tenant="acme", delay=1 + n / 50)
        await nats_broker.server.kill()
        await nats_broker.server.start()
        await until(lambda: len(seen.began) == 50)
    assert {len(times) for times in seen.began.values()} == {1}


ATTACKS = [
    {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "later.app.globex.work"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "job.app.globex.work"},
    {"Nats-Schedule-Next": "purge", "Nats-Scheduler": "later.app.globex.work"},
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-TTL": "1s"},
    {"Nats-Incr": "+1"},
    {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
]


@pytest.mark.parametrize("attack", ATTACKS, ids=" ".join)
async def test_a_client_cannot_reach_others_by_headers_of_jobs_for_later(bus, until, attack):
    seen = Seen()
    async with (
        bus.serving(seen.service()),
        await bus.broker.connect("client", tenant="acme") as client,
        scheduling(bus.broker),
    ):
        await bus.bus.submit("app", "work", "kept", tenant="globex", delay=3600)
        reply = await client.nc.request("later.app.acme.work", b'"evil"', headers=dict(attack), timeout=5)
        refused = "error" in orjson.loads(reply.data)
        await client.submit("app", "work", "honest", tenant="acme", delay=0)
        await until(lambda: any(request == "honest" for request, *_ in seen.told))
        assert {tenant for _, tenant, *_ in seen.told} == {"acme"}
        assert refused, reply.data
        await until(lambda: _left(bus.bus, 1))
        assert (await bus.bus.js.get_last_msg(LATER, "later.app.globex.work")).data == b'"kept"'


async def test_a_client_submits_jobs_for_later_for_its_own_tenant_alone(bus, until):
    seen = Seen()
    async with (
        bus.serving(seen.service()),
        await bus.broker.connect("client", tenant="acme") as client,
        scheduling(bus.broker),
    ):
        await client.submit("app", "work", "own", tenant="acme", delay=0.1)
        await client.nc.publish("later.app.globex.work", b'"evil"', headers={"Headway-At": "0"})
        await client.nc.publish("later.app.acme.work", b'"odd"', headers={"Headway-At": "-1e99"})
        await client.nc.publish("later.APP!.acme.work", b'"no service"')
        await until(lambda: len(seen.told) == 2)
        await until(lambda: _left(bus.bus, 0))
        assert sorted((str(request), tenant) for request, tenant, *_ in seen.told) == [("odd", "acme"), ("own", "acme")]


async def test_in_a_cluster_jobs_for_later_run_once_while_the_stream_changes_its_leader(until):
    seen = Seen()
    async with testing.cluster() as cluster:
        creds = cluster.broker.identities.creds
        first, second, third = cluster.servers
        async with (
            await connect(f"{first.url},{second.url},{third.url}", creds=creds("operator")) as bus,
            await connect(f"{second.url},{first.url}", creds=creds("worker", service="app")) as serving,
            Worker(seen.service(), serving, version="v1"),
            scheduling(cluster.broker, "one", f"{first.url},{second.url},{third.url}"),
            scheduling(cluster.broker, "two", f"{second.url},{third.url},{first.url}"),
        ):
            await cluster.broker.set_routes({"app": {"v1": 100}})
            due = {}
            for n in range(200):
                due[n] = time.time() + 2 + n / 50
                await bus.submit("app", "work", n, tenant=f"t{n % 7}", delay=due[n] - time.time(), timeout=30)
            info = await bus.js.stream_info(LATER)
            leader = next(server for server in cluster.servers if server.config.name == info.cluster.leader)
            await leader.kill()
            await until(lambda: len(seen.began) == 200)
            assert min(seen.began[n][0] - due[n] for n in due) >= 0
            assert {len(times) for times in seen.began.values()} == {1}
            await until(lambda: _left(bus, 0))
            assert {len(times) for times in seen.began.values()} == {1}
