"""A tenant that queues many jobs makes nobody wait, not even the tenants of its own lane."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from headway import Context, Reject, Retry, Service
from headway.bus.nats.streams import jobs_stream
from headway.bus.wire import subjects
from headway.bus.wire.subjects import COMMON, parse_job

FLOOD = 6_000


async def of_the_same_lane(bus, service: str, tenant: str, wanted: int) -> list[str]:
    """Tenants that the server puts on the lane of another one."""
    lanes: dict[str, int] = {}
    names = [tenant, *(f"tenant-{n}" for n in range(8 * COMMON))]

    async def note(message) -> None:
        found = parse_job(message.subject)
        lanes[found.tenant] = found.lane

    subscription = await bus.bus.nc.subscribe(f"job.{service}.v1.>", cb=note)
    for name in names:
        await bus.submit(service, "work", 0, tenant=name)
    async with asyncio.timeout(10):
        while len(lanes) < len(names):
            await bus.bus.nc.flush()
    await subscription.unsubscribe()
    return [name for name, lane in lanes.items() if lane == lanes[tenant] and name != tenant][:wanted]


async def flood(bus, service: str, tenant: str, numbers: range = range(FLOOD)) -> None:
    """Publish as any NATS client would."""
    subject = subjects.job(service, tenant, "work")
    for n in numbers:
        await bus.bus.nc.publish(subject, b"%d" % n)
        if n % 500 == 0:
            await bus.bus.nc.flush()
    await bus.bus.nc.flush()


async def by_lane(bus, service: str, tenant: str) -> dict[int, int]:
    """A tenant's unfinished jobs in each lane."""
    state = (await bus.bus.js.stream_info(jobs_stream(service), subjects_filter=f"job.{service}.*.*.{tenant}.*")).state
    return {parse_job(subject).lane: count for subject, count in (state.subjects or {}).items()}


async def is_empty(bus, service: str) -> bool:
    return (await bus.bus.js.stream_info(jobs_stream(service))).state.messages == 0


async def test_a_quiet_tenant_of_the_same_lane_is_served_while_the_flood_waits(bus, until):
    app, done, waited = Service("app", concurrency=16), Counter(), []

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        if ctx.tenant != "flood":
            waited.append(done["flood"] - request)
        await asyncio.sleep(0.005)
        done[ctx.tenant] += 1

    async with bus.serving(app) as [worker]:
        quiet = (await of_the_same_lane(bus, "app", "flood", 1))[0]
        await until(lambda: worker.beat().in_hand == 0)
        done.clear()
        waited.clear()
        await flood(bus, "app", "flood")
        for _ in range(20):
            await bus.submit("app", "work", done["flood"], tenant=quiet)
            await asyncio.sleep(0.02)
        await until(lambda: done[quiet] == 20)
        assert done["flood"] < FLOOD - 500, "the flood was over: it shows nothing"
        print(f"jobs of the flood done between a submission and its start: {sorted(waited)}")
        await until(lambda: done["flood"] >= FLOOD, 60)
        await until(lambda: is_empty(bus, "app"))
        await until(lambda: not worker._work.backlog.sidelined)
    assert done == {"flood": FLOOD, quiet: 20}
    assert sorted(waited)[10] < 200
    assert max(waited) < FLOOD / 4


async def test_a_tenant_that_has_a_lane_to_itself_is_left_in_peace(bus, until):
    app, done = Service("app", concurrency=16), Counter()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        await asyncio.sleep(0.002)
        done[ctx.tenant] += 1

    async with bus.serving(app) as [worker]:
        await flood(bus, "app", "alone", range(2000))
        await until(lambda: done["alone"] > 1000)
        assert not worker._work.backlog.sidelined
        await until(lambda: done["alone"] == 2000)
        assert worker._work.mover.count == 0


async def test_a_moved_job_keeps_its_id_headers_attempts_and_dead_letter(bus, until, letters):
    app, seen = Service("app", concurrency=4), []

    @app.job("work", retry=Retry(attempts=2, backoff=(0.01,), jitter=0))
    async def work(request: int, ctx: Context) -> None:
        if ctx.headers.get("Color"):
            seen.append((ctx.id, ctx.headers["Color"], ctx.attempt))
            if request == 1:
                raise ValueError("no line")
            raise Reject("not a number")
        await asyncio.sleep(0.01)

    async with bus.serving(app) as [worker]:
        await of_the_same_lane(bus, "app", "flood", 1)
        await until(lambda: worker.beat().in_hand == 0)
        await flood(bus, "app", "flood", range(600))
        await until(lambda: "flood" in worker._work.backlog.sidelined)
        for n in (1, 2):
            fields = {"Nats-Msg-Id": f"own.{n}", "Color": "blue"}
            await bus.bus.nc.publish("job.app.flood.work", b"%d" % n, headers=fields)
        await until(lambda: len(seen) == 3)
        failed, rejected = sorted(await letters(2), key=lambda letter: letter.payload)
    assert sorted(seen) == [("own.1", "blue", 1), ("own.1", "blue", 2), ("own.2", "blue", 1)]
    assert (failed.cause, failed.attempts, rejected.cause) == ("error", 2, "rejected")
    assert parse_job(failed.subject).lane >= COMMON


async def test_a_worker_that_comes_during_a_flood_takes_its_part_and_the_quiet_tenants_are_served(bus, until):
    app, done, by = Service("app", concurrency=8), Counter(), Counter()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        await asyncio.sleep(0.01)
        done[ctx.tenant] += 1
        by[ctx.worker] += ctx.tenant == "flood"

    async with bus.serving(app) as [first]:
        quiet = (await of_the_same_lane(bus, "app", "flood", 1))[0]
        await until(lambda: first.beat().in_hand == 0)
        await flood(bus, "app", "flood", range(3000))
        await until(lambda: "flood" in first._work.backlog.sidelined)
        async with bus.serving(app) as [second]:
            await until(lambda: by[second.name] > 100)
            done[quiet] = 0
            for _ in range(10):
                await bus.submit("app", "work", 1, tenant=quiet)
            await until(lambda: done[quiet] == 10)
            assert done["flood"] < 2500, "the flood was over: it shows nothing"
            await until(lambda: done["flood"] >= 3001)
            assert done["flood"] == 3001
        await until(lambda: not first._work.backlog.sidelined)
        await bus.submit("app", "work", 1, tenant="flood")
        await until(lambda: done["flood"] == 3002)


async def test_jobs_stay_in_their_lane_while_the_stream_is_full(bus, until):
    app, done = Service("app", concurrency=4), Counter()
    gate = asyncio.Event()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        await gate.wait()
        done[ctx.tenant] += 1

    async with bus.serving(app) as [worker]:
        gate.set()
        await of_the_same_lane(bus, "app", "flood", 1)
        await until(lambda: worker.beat().in_hand == 0)
        gate.clear()
        js, stream = bus.bus.js, jobs_stream("app")
        config = (await js.stream_info(stream)).config
        config.max_msgs = 700
        await js.update_stream(config)
        await flood(bus, "app", "flood", range(700))
        await until(lambda: worker._work.backlog._not_before > 0)
        assert not worker._work.backlog.sidelined
        gate.set()
        await until(lambda: done["flood"] >= 701, 30)
        assert done["flood"] == 701  # one of them was submitted to find the lane
        await until(lambda: is_empty(bus, "app"))


SOURCE = """
import asyncio
import os
from headway import Context, Service

app = Service("app", ack_wait=1, concurrency=8)
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("work")
async def work(request: int, ctx: Context) -> None:
    os.write(effects, b"begin %s %d\\n" % (ctx.tenant.encode(), request))
    await asyncio.sleep(0.005)
    os.write(effects, b"end %s %d\\n" % (ctx.tenant.encode(), request))
"""


async def test_nothing_is_lost_when_workers_are_killed_while_they_move_jobs(bus, spawn, tmp_path, until):
    """Only a job that a killed worker had in hand runs again."""
    workers = [await spawn(bus.broker, SOURCE) for _ in range(2)]
    await bus.broker.set_routes({"app": {"v1": 100}})
    quiet = (await of_the_same_lane(bus, "app", "flood", 1))[0]
    kills = 4

    async def is_moving() -> bool:
        return any(lane >= COMMON for lane in await by_lane(bus, "app", "flood"))

    for n in range(kills):
        await flood(bus, "app", "flood", range(1 + 1000 * n, 1001 + 1000 * n))
        await until(is_moving, 30)
        os.kill(workers.pop(0).pid, signal.SIGKILL)
        workers.append(await spawn(bus.broker, SOURCE))
        await bus.submit("app", "work", 1000 + n, tenant=quiet)
    await until(lambda: is_empty(bus, "app"), 60)
    lines = Counter((tmp_path / "effects").read_text().split("\n"))
    for n in range(1, 4001):
        assert lines[f"end flood {n}"] >= 1, f"job {n} is lost"
    for n in range(1000, 1004):
        assert lines[f"end {quiet} {n}"] >= 1
    again = sum(count - 1 for line, count in lines.items() if line.startswith("begin flood") and count > 1)
    print(f"{kills} kills, {again} jobs began again")
    assert again <= kills * 8  # the slots of a worker


async def test_a_server_killed_while_jobs_are_moved_loses_none(bus, until):
    """What the server had in memory only may be delivered again, as after any kill."""
    app, done = Service("app", ack_wait=1, concurrency=16), Counter()

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        await asyncio.sleep(0.005)
        done[ctx.tenant, request] += 1

    async with bus.serving(app) as [worker]:
        quiet = (await of_the_same_lane(bus, "app", "flood", 1))[0]
        await until(lambda: worker.beat().in_hand == 0)
        done.clear()
        await flood(bus, "app", "flood", range(1, 3001))
        before = worker._work.mover.count
        await until(lambda: worker._work.mover.count > before)
        os.kill(bus.broker.server.pid, signal.SIGKILL)
        await bus.broker.server.restart()
        await bus.submit("app", "work", 1, tenant=quiet, timeout=20)
        await until(lambda: done[quiet, 1])
        await until(lambda: is_empty(bus, "app"), 60)
    assert {n for tenant, n in done if tenant == "flood"} == set(range(1, 3001))
    print(f"{sum(done.values()) - len(done)} jobs were done twice after the kill of the server")
