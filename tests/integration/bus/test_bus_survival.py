"""What goes wrong between a worker, a publisher and the server: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel

from headway import CallError, ConnectionFailed, Context, Retry, Service, Worker, connect


class Number(BaseModel):
    n: int


@asynccontextmanager
async def over(link, bus, service: Service):
    """A worker of the service and a publisher, both connected over the link."""
    identities = bus.broker.identities
    async with (
        await connect(link.url, creds=identities.creds("worker", service=service.name)) as connection,
        await connect(link.url, creds=identities.creds("operator")) as publisher,
        Worker(service, connection, grace=5) as worker,
    ):
        await bus.broker.set_routes({service.name: {"v1": 100}})
        yield worker, publisher


def counting(**options) -> tuple[Service, Counter[int]]:
    """A service whose job `work` counts how often it ran for each number."""
    app, done = Service("app", **options), Counter[int]()

    @app.job("work", retry=Retry(attempts=5, backoff=(0.1,)))
    async def work(request: Number) -> None:
        done[request.n] += 1
        await asyncio.sleep(0.01)

    @app.rpc("double")
    async def double(request: Number) -> Number:
        return Number(n=2 * request.n)

    return app, done


def submissions(publisher, numbers: range, at_once: int = 32) -> list[asyncio.Task]:
    """Submit a job for each number under its own key, some at once, however long it takes."""
    gate = asyncio.Semaphore(at_once)

    async def one(n: int):
        async with gate:
            return await publisher.submit("app", "work", {"n": n}, tenant=f"t{n % 7}", key=f"k{n}", timeout=40)

    return [asyncio.ensure_future(one(n)) for n in numbers]


async def stored(bus) -> int:
    """How many jobs were ever stored."""
    return (await bus.bus.js.stream_info("JOBS_app")).state.last_seq


async def test_a_server_killed_while_jobs_are_published_and_done_loses_none(bus, until):
    app, done = counting(ack_wait=1)
    async with bus.serving(app):
        tasks = submissions(bus.bus, range(1500))
        for share in (200, 700):
            await until(lambda share=share: len(done) >= share)
            os.kill(bus.broker.server.pid, signal.SIGKILL)
            await bus.broker.server.restart()
        receipts = await asyncio.gather(*tasks)
        assert len(receipts) == 1500
        await until(lambda: len(done) == 1500)
    assert [letter async for letter in dead_letters(bus)] == []


def dead_letters(bus):
    from headway.bus.client import dead

    return dead.list_(bus.bus.js)


async def test_an_idle_worker_takes_the_first_job_after_a_restart_without_delay(bus, until):
    """The new server knows nothing of the requests that stood at the old one."""
    app, done = counting()
    async with bus.serving(app):
        await bus.submit("app", "work", {"n": 1})
        await until(lambda: done[1])
        await bus.broker.server.kill()
        await bus.broker.server.start()
        await bus.submit("app", "work", {"n": 2}, timeout=10)
        await until(lambda: done[2], 6)  # missing heartbeats would show it after 10 s only


async def test_a_publisher_rides_through_a_killed_server_and_each_key_is_stored_once(bus, until):
    """Nobody takes the jobs, so that the server still knows each key after its restart."""
    app, done = counting()
    async with bus.serving(app):
        pass
    tasks = submissions(bus.bus, range(1000))
    await until(lambda: sum(task.done() for task in tasks) >= 300)
    os.kill(bus.broker.server.pid, signal.SIGKILL)
    await bus.broker.server.restart()
    receipts = await asyncio.gather(*tasks)
    assert await stored(bus) == 1000
    assert sorted(receipt.seq for receipt in receipts) == list(range(1, 1001))
    async with bus.serving(app):
        await until(lambda: len(done) == 1000)
    assert set(done.values()) == {1}


async def test_calls_fail_clearly_while_the_server_is_away_and_work_again_after(bus, until):
    app, _ = counting()

    async def answered() -> bool:
        try:
            return await bus.call("app", "double", {"n": 4}, timeout=0.2) == {"n": 8}
        except CallError:
            return False

    async with bus.serving(app):
        assert await answered()
        await bus.broker.server.kill()
        with pytest.raises((CallError, ConnectionFailed)):
            await bus.call("app", "double", {"n": 4}, timeout=0.2)
        await bus.broker.server.start()
        await until(answered)


async def test_a_server_that_stalls_longer_than_a_try_stores_a_job_once(bus, until):
    """As with a disk that takes seconds: the publisher repeats itself under the same id."""
    app, done = counting()
    async with bus.serving(app):
        os.kill(bus.broker.server.pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitpid, bus.broker.server.pid, os.WUNTRACED)  # all its threads have stopped
        try:
            waiting = asyncio.ensure_future(bus.submit("app", "work", {"n": 1}, timeout=20))
            await asyncio.sleep(2.5)  # the stall itself: longer than one try
            assert not waiting.done()
        finally:
            os.kill(bus.broker.server.pid, signal.SIGCONT)
        await waiting
        await until(lambda: done[1])
        await bus.submit("app", "work", {"n": 2})
        await until(lambda: done[2])
        assert await stored(bus) == 2
    assert done == {1: 1, 2: 1}


async def test_a_job_whose_acknowledgement_is_lost_is_delivered_again_and_costs_no_attempt(bus, link, until):
    app, attempts = Service("app", ack_wait=0.5), []

    @app.job("work", retry=Retry(attempts=1))
    async def work(request: Number, ctx: Context) -> None:
        attempts.append(ctx.attempt)

    lost: list[bytes] = []

    def lose_one(chunk: bytes) -> bool:
        if b"+ACK" in chunk and not lost:
            lost.append(chunk)
            return True
        return False

    async with over(link, bus, app):
        link.loses = lose_one
        await bus.submit("app", "work", {"n": 1})
        await until(lambda: len(attempts) == 2)
        await until(lambda: queue_is_empty(bus))
    assert lost
    assert attempts == [1, 1]
    assert [letter async for letter in dead_letters(bus)] == []


async def queue_is_empty(bus) -> bool:
    return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
async def test_a_cut_connection_costs_neither_the_job_in_hand_nor_a_submission(bus, link, until, seconds):
    app, done, finish = Service("app", ack_wait=1), Counter[int](), asyncio.Event()

    @app.job("work", timeout=60)
    async def work(request: Number) -> None:
        done[request.n] += 1
        if request.n == 0:
            await finish.wait()

    async with over(link, bus, app) as (worker, publisher):
        await publisher.submit("app", "work", {"n": 0}, tenant="a")
        await until(lambda: done[0])
        link.cut()
        await bus.submit("app", "work", {"n": 1}, tenant="a")  # somebody else is still connected
        waiting = asyncio.ensure_future(publisher.submit("app", "work", {"n": 2}, tenant="a", key="k", timeout=60))
        await asyncio.sleep(seconds)  # the cut itself: longer than the ack wait
        assert not waiting.done()
        assert worker.beat().in_hand == 1
        link.mend()
        receipt = await waiting
        await until(lambda: done[1] and done[2])
        finish.set()
        await until(lambda: queue_is_empty(bus))
        again = await publisher.submit("app", "work", {"n": 2}, tenant="a", key="k")
        assert (again.seq, again.duplicate) == (receipt.seq, True)
        assert await stored(bus) == 3
    assert done == {0: 1, 1: 1, 2: 1}


async def test_a_storm_of_reconnects_under_load_loses_and_doubles_nothing(bus, link, until):
    app, done = counting(ack_wait=1)
    async with over(link, bus, app) as (worker, publisher):
        at_first = link.accepted
        tasks = submissions(publisher, range(600), at_once=8)
        for cut in range(1, 21):
            link.drop()
            # Both are back before the next cut, so that each of the 20 hits them.
            await until(lambda cut=cut: link.accepted >= at_first + 2 * cut)
            await until(lambda: worker.bus.nc.is_connected and publisher.nc.is_connected)
        await asyncio.gather(*tasks)
        await until(lambda: len(done) == 600)
        await until(lambda: queue_is_empty(bus))
        assert await publisher.call("app", "double", {"n": 4}, tenant="a", timeout=10) == {"n": 8}
        assert worker.beat().in_hand == 0
        assert await stored(bus) == 600
    assert link.accepted >= at_first + 40
    assert [letter async for letter in dead_letters(bus)] == []


async def test_consumers_deleted_under_a_worker_are_made_anew_and_nothing_is_lost(bus, until):
    app, done = counting()
    async with bus.serving(app):
        await asyncio.gather(*submissions(bus.bus, range(50)))
        await until(lambda: len(done) == 50)
        await asyncio.gather(*(bus.bus.js.delete_consumer("JOBS_app", f"v1-{lane}") for lane in range(16)))
        await asyncio.gather(*submissions(bus.bus, range(50, 150)))
        await until(lambda: len(done) == 150, 6)  # missing heartbeats would show it after 10 s only
        await until(lambda: queue_is_empty(bus))
        assert len(await bus.bus.js.consumers_info("JOBS_app")) == 16


async def test_a_stream_deleted_under_a_worker_is_made_anew(bus, until):
    app, done = counting()
    async with bus.serving(app):
        await bus.submit("app", "work", {"n": 1})
        await until(lambda: done[1])
        await bus.bus.js.delete_stream("JOBS_app")
        await bus.submit("app", "work", {"n": 2}, timeout=20)
        await until(lambda: done[2])


async def test_events_go_on_after_their_consumer_was_deleted(bus, until):
    app, heard = Service("app"), []

    @app.on("call.ended")
    async def ended(event: Number) -> None:
        heard.append(event.n)

    async def heard_another() -> bool:
        # An event consumer begins with what comes after it was made: emit until it is there.
        await bus.emit("call.ended", {"n": 2})
        return 2 in heard

    async with bus.serving(app):
        await bus.emit("call.ended", {"n": 1})
        await until(lambda: heard == [1])
        await bus.bus.js.delete_consumer("EVENTS", "app_call_ended")
        await until(heard_another)


async def test_a_slow_link_delays_and_nothing_more(bus, link, until):
    app, done = counting(ack_wait=5)
    async with over(link, bus, app) as (_, publisher):
        link.latency = 0.1
        await asyncio.gather(*submissions(publisher, range(300), at_once=300))
        await until(lambda: len(done) == 300)
        assert await publisher.call("app", "double", {"n": 4}, tenant="a", timeout=5) == {"n": 8}
        await until(lambda: queue_is_empty(bus))
        assert await stored(bus) == 300
        link.latency = 0
    assert set(done.values()) == {1}


async def test_no_call_and_no_job_on_its_way_to_a_worker_is_lost_when_it_leaves(bus, link, until):
    app = Service("app", ack_wait=60)
    jobs = Counter[int]()

    @app.rpc("echo")
    async def echo(number: int, ctx: Context) -> int:
        return number

    @app.job("work")
    async def work(number: int, ctx: Context) -> None:
        jobs[number] += 1

    creds = bus.broker.identities.creds("worker", service="app")
    numbers = itertools.count()
    submitted: list[int] = []
    stop = asyncio.Event()

    async def call() -> None:
        while not stop.is_set():
            number = next(numbers)
            assert await bus.call("app", "echo", number, returns=int, timeout=10) == number
            await bus.submit("app", "work", number)
            submitted.append(number)

    async with bus.serving(app):
        calling = [asyncio.ensure_future(call()) for _ in range(8)]
        for _ in range(5):
            async with await connect(link.url, creds=creds) as connection, Worker(app, connection) as worker:
                link.holds = b"UNSUB"
                await until(lambda worker=worker: worker.counters.processed > 20)
        stop.set()
        await asyncio.gather(*calling)
        await until(lambda: jobs.total() >= len(submitted))
    assert jobs == Counter(submitted)
