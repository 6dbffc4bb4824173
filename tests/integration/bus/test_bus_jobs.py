"""Jobs on a real server: acknowledged, retried, kept alive, given up, bounded, spread over lanes."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from pydantic import BaseModel

from headway import Context, NotServed, QueueFull, Reject, Retry, Service


class Number(BaseModel):
    n: int


def quick(attempts: int) -> Retry:
    return Retry(attempts=attempts, backoff=(0,), jitter=0)


async def queued(bus, service: str) -> int:
    return (await bus.bus.js.stream_info(f"JOBS_{service}")).state.messages


async def test_a_job_leaves_the_queue_when_its_handler_has_returned_and_not_before(bus, until):
    app, running, finish = Service("app"), asyncio.Event(), asyncio.Event()

    @app.job("work")
    async def work(request: Number, ctx: Context) -> None:
        running.set()
        await finish.wait()

    async with bus.serving(app) as [worker]:
        receipt = await bus.submit("app", "work", {"n": 1})
        assert (receipt.stream, receipt.seq, receipt.duplicate) == ("JOBS_app", 1, False)
        await asyncio.wait_for(running.wait(), 10)
        assert await queued(bus, "app") == 1
        finish.set()
        await until(lambda: worker.counters.processed == 1)
        await until(lambda: empty(bus, "app"))


async def empty(bus, service: str) -> bool:
    return await queued(bus, service) == 0


async def test_the_handler_is_told_tenant_id_version_and_configuration(bus, until):
    app = Service("app", config=Number)
    told = []

    @app.job("work")
    async def work(request: Number, ctx: Context) -> None:
        told.append((ctx.tenant, ctx.operation, ctx.service, ctx.version, ctx.attempt, ctx.config(Number).n, ctx.id))

    async with bus.serving(app, version="v7", config={"n": 5}):
        await bus.submit("app", "work", {"n": 1}, tenant="acme", key="k1")
        await until(lambda: told)
        made = bus.bus.ids.keyed("acme", "work", "k1")
    assert told == [("acme", "work", "app", "v7", 1, 5, made)]


async def test_a_failed_job_is_tried_again_after_each_backoff(bus, until):
    app = Service("app")
    at: list[float] = []
    seen: list[tuple[int, str]] = []

    @app.job("work", retry=Retry(attempts=3, backoff=(0.1, 0.4), jitter=0))
    async def work(request: Number, ctx: Context) -> None:
        at.append(time.monotonic())
        seen.append((ctx.attempt, ctx.id))
        if len(at) < 3:
            raise RuntimeError("the line is busy")

    async with bus.serving(app) as [worker]:
        await bus.submit("app", "work", {"n": 1}, key="k")
        await until(lambda: worker.counters.processed == 1)
        assert (worker.counters.failed, worker.counters.retried, worker.counters.dead) == (2, 2, 0)
        made = bus.bus.ids.keyed("test", "work", "k")
    assert seen == [(1, made), (2, made), (3, made)]
    assert 0.09 <= at[1] - at[0] < 0.39
    assert at[2] - at[1] >= 0.39


async def test_a_job_longer_than_the_ack_wait_runs_once(bus, until):
    app = Service("app", ack_wait=0.3)
    runs = 0

    @app.job("work")
    async def work(request: Number) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(1.5)

    async with bus.serving(app, workers=2):
        await bus.submit("app", "work", {"n": 1})
        await until(lambda: empty(bus, "app"))
    assert runs == 1


async def test_a_job_whose_last_attempt_fails_is_kept_with_its_cause_digest_payload_and_headers(bus, letters):
    app = Service("app")

    @app.job("work", retry=quick(2))
    async def work(request: Number) -> None:
        raise RuntimeError("no line")

    async with bus.serving(app):
        for key in ("a", "b"):
            await bus.bus.store("job.app.acme.work", b'{"n":1, "more": 2}', {"Nats-Msg-Id": key, "X-Shop": "Berlin"})
        first, second = await letters(2)
        assert await queued(bus, "app") == 0
    assert (first.service, first.tenant, first.operation) == ("app", "acme", "work")
    assert (first.cause, first.reason, first.attempts) == ("error", "RuntimeError: no line", 2)
    assert first.payload == b'{"n":1, "more": 2}'
    assert first.headers["X-Shop"] == "Berlin"
    assert (first.stream, {first.stream_seq, second.stream_seq}) == ("JOBS_app", {1, 2})
    assert first.subject.startswith("job.app.v1.")
    assert len(first.traceback) == 12
    assert first.traceback == second.traceback


async def test_a_rejected_job_is_given_up_at_once(bus, letters):
    app = Service("app")
    runs = 0

    @app.job("work", retry=quick(5))
    async def work(request: Number) -> None:
        nonlocal runs
        runs += 1
        raise Reject("there is no such number")

    async with bus.serving(app):
        await bus.submit("app", "work", {"n": 1})
        [letter] = await letters(1)
    assert runs == 1
    assert (letter.cause, letter.reason, letter.attempts) == ("rejected", "there is no such number", 1)
    assert letter.payload == b'{"n":1}'


async def test_input_that_does_not_validate_never_reaches_the_handler(bus, letters):
    app = Service("app")

    @app.job("work")
    async def work(request: Number) -> None:
        raise AssertionError("it ran")

    async with bus.serving(app):
        await bus.submit("app", "work", {"n": "many"})
        await bus.bus.store("job.app.test.work", b"\xff{", {"Nats-Msg-Id": "raw"})
        one, other = sorted(await letters(2), key=lambda letter: letter.stream_seq)
    assert (one.cause, other.cause) == ("invalid_input", "invalid_input")
    assert one.reason.startswith("n:")
    assert one.payload == b'{"n":"many"}'
    assert other.payload == b"\xff{"
    assert (one.attempts, one.traceback) == (1, "")


async def test_an_operation_the_version_does_not_have_is_given_up(bus, letters):
    app = Service("app")

    @app.job("work")
    async def work(request: Number) -> None: ...

    async with bus.serving(app):
        await bus.submit("app", "other", {"n": 1})
        [letter] = await letters(1)
    assert (letter.cause, letter.operation) == ("unknown_operation", "other")
    assert letter.reason == "version v1 has no job 'other'"


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(bus, letters):
    app = Service("app")
    cancelled = 0

    @app.job("work", timeout=0.05, retry=quick(2))
    async def work(request: Number) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1

    async with bus.serving(app):
        await bus.submit("app", "work", {"n": 1})
        [letter] = await letters(1)
    assert cancelled == 2
    assert (letter.cause, letter.attempts) == ("error", 2)
    assert letter.reason == "DeadlineExceeded: work took longer than 0.05 s"


async def test_a_cancellation_that_a_handler_lets_escape_is_a_failure_like_any_other(bus, letters):
    app = Service("app")

    @app.job("work", retry=quick(1))
    async def work(request: Number) -> None:
        raise asyncio.CancelledError("not ours")

    async with bus.serving(app) as [worker]:
        await bus.submit("app", "work", {"n": 1})
        [letter] = await letters(1)
        assert worker.beat().in_hand == 0
    assert letter.reason == "CancelledError: not ours"


async def test_a_key_stores_a_job_once_however_often_it_is_repeated(bus, until):
    app = Service("app")
    done: list[int] = []

    @app.job("work")
    async def work(request: Number) -> None:
        done.append(request.n)

    async with bus.serving(app):
        receipts = await asyncio.gather(*(bus.submit("app", "work", {"n": 1}, key="k") for _ in range(20)))
        assert sum(not receipt.duplicate for receipt in receipts) == 1
        assert {receipt.seq for receipt in receipts} == {1}
        again = await bus.submit("app", "work", {"n": 1}, key="k", tenant="other")
        await bus.submit("app", "work", {"n": 2}, key="l")
        assert not again.duplicate  # another tenant's key is another key
        await until(lambda: len(done) == 3)
        assert (await bus.submit("app", "work", {"n": 1}, key="k")).duplicate  # also when it is done
    assert sorted(done) == [1, 1, 2]


async def test_a_tenant_that_fills_its_share_is_refused_while_another_gets_in(bus):
    app = Service("app", queue_per_subject=3, concurrency=1)
    finish = asyncio.Event()

    @app.job("work")
    async def work(request: Number) -> None:
        await finish.wait()

    async with bus.serving(app):
        for n in range(3):
            await bus.submit("app", "work", {"n": n}, tenant="flood")
        began = time.monotonic()
        with pytest.raises(QueueFull, match="maximum messages per subject"):
            await bus.submit("app", "work", {"n": 9}, tenant="flood")
        assert time.monotonic() - began < 1  # refused, not waited for
        assert not (await bus.submit("app", "work", {"n": 1}, tenant="calm")).duplicate
        finish.set()


async def test_a_queue_full_in_bytes_refuses_its_publisher_and_keeps_what_it_has(bus, until):
    app = Service("app", queue_bytes=64 * 1024, concurrency=1)
    finish = asyncio.Event()
    done: list[int] = []

    @app.job("work")
    async def work(request: dict[str, int | str]) -> None:
        await finish.wait()
        done.append(int(request["n"]))

    async with bus.serving(app):
        stored = 0
        with pytest.raises(QueueFull, match="maximum bytes"):
            for n in range(100):
                await bus.submit("app", "work", {"n": n, "text": "x" * 4096})
                stored += 1
        assert 10 < stored < 17
        finish.set()
        await until(lambda: len(done) == stored)
        await until(lambda: empty(bus, "app"))
        await bus.submit("app", "work", {"n": 100, "text": "x" * 4096})
        await until(lambda: 100 in done)
    assert sorted(done) == [*range(stored), 100]


async def test_handlers_that_are_plain_functions_run_side_by_side_in_threads(bus, until):
    app = Service("app")
    meet = threading.Barrier(4, timeout=10)
    threads: list[str] = []

    @app.job("work", retry=quick(1))
    def work(request: Number, ctx: Context) -> None:
        meet.wait()
        threads.append(threading.current_thread().name)

    async with bus.serving(app) as [worker]:
        for n in range(4):
            await bus.submit("app", "work", {"n": n})
        await until(lambda: worker.counters.processed == 4)
    assert len(set(threads)) == 4
    assert all(name.startswith("headway-handler") for name in threads)


async def test_the_server_puts_each_tenant_on_one_common_lane_and_spreads_them(bus, until):
    app = Service("app")
    lanes: dict[str, set[str]] = {}
    done = 0

    @app.job("work")
    async def work(request: Number) -> None:
        nonlocal done
        done += 1

    async def note(message) -> None:
        _, _, _, lane, tenant, _ = message.subject.split(".")
        lanes.setdefault(tenant, set()).add(lane)

    async with bus.serving(app):
        await bus.bus.nc.subscribe("job.app.v1.>", cb=note)
        await bus.bus.nc.flush()
        for n in range(3):
            await asyncio.gather(*(bus.submit("app", "work", {"n": n}, tenant=f"tenant-{t}") for t in range(64)))
        await until(lambda: done == 192)
        await until(lambda: len(lanes) == 64)
    assert all(len(found) == 1 for found in lanes.values())
    used = set.union(*lanes.values())
    assert len(used) == 8
    assert used <= {str(lane) for lane in range(8)}


async def test_a_job_for_a_service_that_nobody_serves_is_refused(bus):
    with pytest.raises(NotServed):
        await bus.submit("nobody", "work", {"n": 1}, timeout=0.2)


async def test_no_more_is_in_hand_than_the_worker_may_have(bus, until):
    app = Service("app", concurrency=4)
    running = most = done = 0

    @app.job("work")
    async def work(request: Number) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        done += 1

    async with bus.serving(app):
        await asyncio.gather(*(bus.submit("app", "work", {"n": n}, tenant=f"t{n % 20}") for n in range(200)))
        await until(lambda: done == 200)
    assert most == 4
