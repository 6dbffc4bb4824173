"""Every outcome of a handler is accounted, logged and answered; nothing is acknowledged that has not run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
import time

import pytest

from headway import Context, DeadlineExceeded, DeclarationError, RemoteError, Retry, Service

ONCE = Retry(attempts=1)
TWICE = Retry(attempts=2, backoff=(0,), jitter=0)


def traced(function):
    """A plain decorator, as people write it."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@contextlib.contextmanager
def timing():
    yield


class Panic(BaseException):
    """As Rust's, through PyO3."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


async def test_a_job_behind_a_plain_decorator_runs_before_it_is_acknowledged(bus, until):
    app, ran = Service("app"), []

    @app.job("wrapped")
    @traced
    async def wrapped(request: int, ctx: Context) -> None:
        await asyncio.sleep(0.01)
        ran.append(request)

    @app.job("timed")
    @timing()
    async def timed(request: int) -> None:
        await asyncio.sleep(0.01)
        ran.append(request)

    @app.rpc("wrapped")
    @traced
    async def answer(request: int) -> int:
        await asyncio.sleep(0.01)
        return request + 1

    async with bus.serving(app) as [worker]:
        await bus.submit("app", "wrapped", 1)
        await bus.submit("app", "timed", 2)
        assert await bus.call("app", "wrapped", 2) == 3
        await until(lambda: worker.counters.processed == 3)
    assert sorted(ran) == [1, 2]


def test_a_generator_is_refused_when_it_is_declared():
    app = Service("app")
    with pytest.raises(DeclarationError, match=r"is a generator.*return its result"):

        @app.job("one")
        async def one(request: None):
            yield

    with pytest.raises(DeclarationError, match="is a generator"):

        @app.job("two")
        def two(request: None):
            yield

    with pytest.raises(DeclarationError, match="is a generator"):

        @app.job("three")
        @contextlib.contextmanager
        def three(request: None):
            yield

    with pytest.raises(DeclarationError, match="is a generator"):

        @app.rpc("four")
        @traced
        async def four(request: None):
            yield 1


async def test_a_generator_that_cannot_be_seen_fails_the_attempt(bus, letters):
    app = Service("app")

    @app.job("hidden", retry=ONCE)
    def hidden(request: None) -> None:
        return (n for n in [1])

    async with bus.serving(app):
        await bus.submit("app", "hidden")
        [letter] = await letters(1)
    assert "generator" in letter.reason


async def test_a_coroutine_that_was_never_awaited_fails_the_attempt(bus, letters):
    app = Service("app")

    @app.job("forgets", retry=ONCE)
    def forgets(request: None, ctx: Context) -> None:
        ctx.emit("call.ended", {})

    @app.job("forgets-too", retry=ONCE)
    async def forgets_too(request: None, ctx: Context) -> None:
        ctx.emit("call.ended", {})

    @app.rpc("forgets")
    async def call(request: None, ctx: Context) -> int:
        ctx.emit("call.ended", {})
        return 1

    async with bus.serving(app):
        await bus.submit("app", "forgets")
        await bus.submit("app", "forgets-too")
        with pytest.raises(RemoteError):
            await bus.call("app", "forgets")
        for letter in await letters(2):
            assert letter.cause == "error"
            assert "Tenant.emit without awaiting it" in letter.reason


@pytest.mark.parametrize("error", [Panic("overflow"), SystemExit(3), KeyboardInterrupt(), StopIteration(), Mute()])
@pytest.mark.parametrize("plain", [False, True], ids=["async def", "def"])
async def test_whatever_a_handler_raises_is_logged_answered_and_counted_as_an_attempt(
    bus, letters, caplog, error, plain
):
    app, runs = Service("app"), []

    def fail(request: None) -> None:
        runs.append(request)
        raise error

    async def fail_async(request: None) -> None:
        fail(request)

    app.job("fail", retry=TWICE)(fail if plain else fail_async)
    app.rpc("fail")(fail if plain else fail_async)

    @app.rpc("innocent")
    async def innocent(request: None) -> str:
        await asyncio.sleep(0.3)
        return "answered"

    async with bus.serving(app) as [worker]:
        other = asyncio.ensure_future(bus.call("app", "innocent", timeout=10))
        with pytest.raises(RemoteError, match="error id"):
            await bus.call("app", "fail", timeout=10)
        await bus.submit("app", "fail")
        [letter] = await letters(1)
        assert await other == "answered"
        assert worker.counters.failed == 3
    assert len(runs) == 3  # one call, and two attempts
    assert (letter.cause, letter.attempts) == ("error", 2)
    name = "RuntimeError" if isinstance(error, StopIteration) else type(error).__name__
    assert letter.reason.startswith(name)
    assert any("fail failed" in record.getMessage() for record in caplog.records)


async def test_a_reply_that_is_not_what_is_declared_is_an_error_that_names_the_field(bus):
    app = Service("app")

    @app.rpc("number")
    async def number(request: str) -> int:
        return {"text": "many", "large": 2**64}[request]

    @app.rpc("nan")
    async def nan(request: None) -> dict[str, float]:
        return {"share": float("nan")}

    async with bus.serving(app):
        with pytest.raises(RemoteError, match=r"number does not return its declared type: payload: .*integer"):
            await bus.call("app", "number", "text")
        with pytest.raises(RemoteError, match="beyond 64 bits"):
            await bus.call("app", "number", "large")
        with pytest.raises(RemoteError, match="share is nan"):
            await bus.call("app", "nan")


async def test_a_timed_out_thread_is_hung_until_it_ends_and_its_job_is_not_run_beside_it(bus, until):
    app, release, runs, others = Service("app", concurrency=100), threading.Event(), [], []

    @app.job("never", timeout=0.2, retry=TWICE)
    def never(request: int) -> None:
        runs.append(request)
        release.wait(60)

    @app.job("quick")
    def quick(request: None) -> None:
        others.append(1)

    try:
        async with bus.serving(app, grace=2) as [worker]:
            for n in range(70):
                await bus.submit("app", "never", n)
            await until(lambda: worker.beat().hung == 70)
            await bus.submit("app", "quick")
            await until(lambda: others)
            await asyncio.sleep(0.5)
            assert sorted(runs) == list(range(70))
            assert worker.beat().hung == 70
            release.set()
            await until(lambda: worker.beat().in_hand == 0)
            assert worker.beat().hung == 0
            assert worker.counters.processed == 71  # ended, late: it is done, and not done again
            assert worker.counters.dead == 0
    finally:
        release.set()
    assert sorted(runs) == list(range(70))


async def test_threads_are_as_many_as_the_worker_may_have_in_hand(bus, until):
    app, done = Service("app", concurrency=160), []

    @app.job("work", timeout=5)
    def work(request: int) -> None:
        time.sleep(1)
        done.append(request)

    async with bus.serving(app) as [worker]:
        await asyncio.gather(*(bus.submit("app", "work", n) for n in range(320)))
        await until(lambda: len(done) >= 320)
        await until(lambda: worker.beat().in_hand == 0)
        assert (worker.counters.dead, worker.counters.failed, worker.counters.retried) == (0, 0, 0)
    assert sorted(done) == list(range(320))


async def test_a_call_in_a_thread_is_answered_in_time_and_its_thread_counts_as_hung(bus, until):
    app, release = Service("app"), threading.Event()

    @app.rpc("slow", timeout=0.2)
    def slow(request: None) -> None:
        release.wait(60)

    try:
        async with bus.serving(app) as [worker]:
            with pytest.raises(DeadlineExceeded, match="not done within"):
                await bus.call("app", "slow", timeout=5)
            assert (worker.beat().hung, worker.beat().rpc_inflight) == (1, 1)
            release.set()
            await until(lambda: worker.beat().rpc_inflight == 0)
            assert worker.beat().hung == 0
    finally:
        release.set()


@pytest.mark.skipif(sys.platform != "linux", reason="reads its threads")
async def test_threads_are_started_only_as_they_are_needed(bus):
    app = Service("app", concurrency=256)

    @app.rpc("where")
    def where(request: None) -> int:
        return threading.active_count()

    async with bus.serving(app):
        assert await bus.call("app", "where", returns=int) < 40
