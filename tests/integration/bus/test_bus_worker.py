"""A worker from start to stop: hooks and resources, heartbeats, draining, exit codes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

from headway import Beat, Bus, CallError, ConfigError, Context, DeclarationDrift, Overloaded, Retry, Service, Worker
from headway.bus.wire.beat import BUCKETS

SOURCE = """
import asyncio
import os
import re
from pydantic import BaseModel
from headway import Context, Service

class Settings(BaseModel):
    pause: float = 1.0

app = Service("app", ack_wait=60, config=Settings)
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("work")
async def work(n: int, ctx: Context) -> None:
    os.write(effects, b"start %d\\n" % n)
    await asyncio.sleep(ctx.config(Settings).pause)
    os.write(effects, b"end %d\\n" % n)

@app.rpc("wait", timeout=60)
async def wait(n: int, ctx: Context) -> str:
    os.write(effects, b"start %d\\n" % n)
    await asyncio.sleep(ctx.config(Settings).pause)
    return ctx.worker
"""


async def redelivered(bus) -> int:
    """How many jobs were delivered more than once and are not done."""
    js = bus.bus.js
    infos = await asyncio.gather(*(js.consumer_info("JOBS_app", f"v1-{lane}") for lane in range(16)))
    return sum(info.num_redelivered for info in infos)


async def nobody_pulls(bus) -> bool:
    return not any(info.num_waiting for info in await bus.bus.js.consumers_info("JOBS_app"))


async def messages(bus) -> int:
    return (await bus.bus.js.stream_info("JOBS_app")).state.messages


def effects(path) -> list[str]:
    return (path / "effects").read_text().splitlines()


async def test_sigterm_drains_everything_in_hand_and_nothing_is_done_twice(bus, spawn, tmp_path, until):
    worker = await spawn(bus.broker, SOURCE)
    await bus.broker.set_routes({"app": {"v1": 100}})
    call = asyncio.ensure_future(bus.call("app", "wait", 99, timeout=30))
    await asyncio.gather(*(bus.submit("app", "work", n, tenant=f"t{n}") for n in range(20)))
    await until(lambda: len(effects(tmp_path)) == 21)
    worker.signal(signal.SIGTERM)
    # What is submitted when it asks for nothing more is for somebody else.
    await until(lambda: no_answer(bus))
    await until(lambda: nobody_pulls(bus))
    await bus.submit("app", "work", 20)
    assert await worker.ended() == 0, worker.log
    assert len(await call) == 22
    assert sorted(effects(tmp_path)) == sorted(
        [f"{what} {n}" for n in range(20) for what in ("start", "end")] + ["start 99"]
    )
    assert await redelivered(bus) == 0
    assert await messages(bus) == 1
    await spawn(bus.broker, SOURCE, config={"pause": 0})
    await until(lambda: "end 20" in effects(tmp_path))


async def no_answer(bus) -> bool:
    try:
        await bus.call("app", "wait", "not a number", timeout=5)
    except CallError as error:
        return error.code == "not_served"
    return False


@pytest.mark.parametrize("how", ["a second SIGTERM", "the end of the grace period"])
async def test_unfinished_work_is_handed_back_at_once_and_done_elsewhere(bus, spawn, tmp_path, until, how):
    """The ack wait is a minute: what arrives elsewhere sooner was handed back."""
    grace = 60 if how == "a second SIGTERM" else 0.3
    first = await spawn(bus.broker, SOURCE, grace=grace, config={"pause": 60})
    await bus.broker.set_routes({"app": {"v1": 100}})
    call = asyncio.ensure_future(bus.call("app", "wait", 99, timeout=60))
    await asyncio.gather(*(bus.submit("app", "work", n, tenant=f"t{n}") for n in range(5)))
    await until(lambda: len(effects(tmp_path)) == 6)
    second = await spawn(bus.broker, SOURCE, config={"pause": 0})
    first.signal(signal.SIGTERM)
    if how == "a second SIGTERM":
        await until(lambda: only_one_answers(bus))
        assert not call.done()
        first.signal(signal.SIGTERM)
    began = time.monotonic()
    assert await first.ended() == 0, first.log
    with pytest.raises(Overloaded, match="shutting down"):
        await call
    await until(lambda: messages_are_done(bus))
    assert time.monotonic() - began < 5
    assert sorted(line for line in effects(tmp_path) if "end" in line) == [f"end {n}" for n in range(5)]
    second.signal(signal.SIGINT)
    assert await second.ended() == 0


async def messages_are_done(bus) -> bool:
    return await messages(bus) == 0


async def only_one_answers(bus) -> bool:
    """Whether the first of the two workers takes no calls any more."""
    answers = await asyncio.gather(*(bus.call("app", "wait", 1, timeout=0.5) for _ in range(8)), return_exceptions=True)
    return not any(isinstance(answer, Exception) for answer in answers)


async def test_an_attempt_that_was_handed_back_does_not_count(bus, until):
    app, attempts, release = Service("app", ack_wait=60), [], asyncio.Event()

    @app.job("work", retry=Retry(attempts=1))
    async def work(request: int, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        await release.wait()

    async with bus.serving(app, grace=0.05):
        await bus.submit("app", "work", 1)
        await until(lambda: attempts == [1])
    release.set()
    async with bus.serving(app) as [worker]:
        await until(lambda: worker.counters.processed == 1)
    assert attempts == [1, 1]
    assert (await bus.bus.js.stream_info("DEAD")).state.messages == 0


async def test_resources_open_before_hooks_and_close_after_them_in_reverse(bus):
    app, order = Service("app"), []

    @app.resource
    async def line():
        order.append("open line")
        yield "line"
        order.append("close line")

    @app.resource
    async def fax(info):
        order.append(f"open fax of {info.service} {info.version}")
        yield "fax"
        order.append("close fax")

    for name in ("one", "two"):

        async def start(info, name=name) -> None:
            order.append(f"start {name}")

        async def stop(info, name=name) -> None:
            order.append(f"stop {name}")

        app.on_start(start)
        app.on_stop(stop)

    @app.rpc("use")
    async def use(request: None, ctx: Context) -> list[str]:
        order.append("call")
        return [ctx.resource(line), ctx.resource(fax)]

    async with bus.serving(app):
        assert await bus.call("app", "use") == ["line", "fax"]
    assert order == [
        "open line",
        "open fax of app v1",
        "start one",
        "start two",
        "call",
        "stop two",
        "stop one",
        "close fax",
        "close line",
    ]


@pytest.mark.parametrize("what", ["resource", "start hook"])
async def test_a_worker_that_cannot_start_says_why_and_closes_what_it_opened(bus, what):
    app, closed = Service("app"), []

    @app.resource
    async def first():
        try:
            yield
        finally:
            closed.append("first")

    async def broken(info) -> None:
        raise RuntimeError("no line")

    if what == "resource":

        @app.resource
        async def broken_resource():
            raise RuntimeError("no line")
            yield

    else:
        app.on_start(broken)

    async with await bus.broker.connect("worker", service="app") as connection:
        with pytest.raises(RuntimeError, match="no line") as caught:
            async with Worker(app, connection):
                pass
    assert what in " ".join(caught.value.__notes__)
    assert "broken" in " ".join(caught.value.__notes__)
    assert closed == ["first"]


async def test_a_failing_stop_hook_does_not_keep_the_others_from_running(bus):
    app, stopped = Service("app"), []

    @app.on_stop
    async def last(info) -> None:
        stopped.append("last")

    @app.on_stop
    async def broken(info) -> None:
        raise RuntimeError("no line")

    async with bus.serving(app):
        pass
    assert stopped == ["last"]


async def beats(bus: Bus) -> asyncio.Queue[Beat]:
    """The heartbeats from now on."""
    arrived: asyncio.Queue[Beat] = asyncio.Queue()

    async def take(message) -> None:
        beat = Beat.model_validate_json(message.data)
        assert message.subject == f"beat.{beat.service}.{beat.version}.{beat.worker}"
        arrived.put_nowait(beat)

    await bus.nc.subscribe("beat.>", cb=take)
    await bus.nc.flush()
    return arrived


async def test_a_worker_says_each_second_how_it_is(bus):
    app, finish = Service("app"), asyncio.Event()

    @app.job("work", retry=Retry(attempts=2, backoff=(0,)))
    async def work(request: int, ctx: Context) -> None:
        if request < 0:
            raise RuntimeError("negative")
        await finish.wait()

    @app.rpc("double")
    async def double(request: int) -> int:
        return 2 * request

    async with asyncio.timeout(30), await bus.broker.connect("control") as control:
        arrived = await beats(control)
        async with bus.serving(app, version="v2") as [worker]:
            first = await arrived.get()
            await bus.call("app", "double", 1)
            with pytest.raises(CallError):
                await bus.call("app", "double", "x")
            await bus.submit("app", "work", -1)
            await bus.submit("app", "work", 1)
            times = [first.at]
            while True:
                beat = await arrived.get()
                times.append(beat.at)
                if beat.dead == 1 and beat.oldest_s > 1.5:
                    break
            finish.set()
        left = [arrived.get_nowait() for _ in range(arrived.qsize())]
    assert (first.service, first.version, first.worker, first.state) == ("app", "v2", worker.name, "serving")
    assert (first.host, first.pid) == (socket.gethostname(), os.getpid())
    assert first.started <= first.at <= time.time()
    assert (beat.in_hand, beat.rpc_inflight) == (1, 0)
    assert (beat.processed, beat.failed, beat.retried, beat.dead, beat.rejected, beat.shed) == (1, 2, 1, 1, 1, 0)
    assert 1.5 < beat.oldest_s < 20
    assert len(beat.latency["rpc"]) == len(BUCKETS) + 1
    assert (sum(beat.latency["rpc"]), sum(beat.latency["job"]), sum(beat.latency["on"])) == (2, 2, 0)
    assert beat.cpu_s > 0
    assert 10 << 20 < beat.rss_bytes < 4 << 30
    assert beat.loop_lag_s >= 0
    assert beat.healthy
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert all(0.5 < gap < 2 for gap in gaps), gaps
    assert [beat.state for beat in left][-2:] == ["draining", "stopped"]


async def test_an_idle_worker_wakes_hardly_more_often_than_it_beats(bus, spawn):
    worker = await spawn(bus.broker, SOURCE)

    def woken() -> int:
        """How often all of its threads have waited for something, and it came."""
        found = [(task / "status").read_text() for task in Path(f"/proc/{worker.pid}/task").iterdir()]
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]) for text in found)

    await asyncio.sleep(3)  # its lanes become quiet, and their requests long
    before = woken()
    await asyncio.sleep(5)
    assert 4 <= woken() - before <= 25  # five beats, and the heartbeats of sixteen lanes; 48 with a keeper that ticks


async def test_a_blocked_event_loop_shows_in_the_beat(bus):
    app = Service("app")

    @app.rpc("block")
    async def block(request: None) -> None:
        time.sleep(1.3)  # noqa: ASYNC251  # the fault that the beat is to show

    async with asyncio.timeout(30), await bus.broker.connect("control") as control:
        arrived = await beats(control)
        async with bus.serving(app):
            await arrived.get()
            await bus.call("app", "block", timeout=10)
            lag = 0.0
            while lag < 0.25:
                lag = (await arrived.get()).loop_lag_s


async def test_a_failing_health_check_shows_in_the_beat_and_so_does_recovery(bus):
    app, healthy = Service("app"), True

    @app.health_check
    async def check() -> bool:
        if not healthy:
            raise RuntimeError("no line")
        return True

    @app.health_check
    async def other() -> bool:
        return True

    async with asyncio.timeout(30), await bus.broker.connect("control") as control:
        arrived = await beats(control)
        async with bus.serving(app):
            assert (await arrived.get()).healthy
            healthy = False
            while (await arrived.get()).healthy:
                pass
            healthy = True
            while not (await arrived.get()).healthy:
                pass


class Settings(BaseModel):
    speed: int


async def test_a_wrong_configuration_names_the_field(bus):
    app = Service("app", config=Settings)
    with pytest.raises(ConfigError, match=r"speed: Input should be a valid integer.*its fields are speed"):
        Worker(app, bus.bus, config={"speed": "fast"})


async def test_a_stream_that_cannot_be_made_as_declared_is_an_error(bus):
    app = Service("app")

    @app.job("work")
    async def work(request: int) -> None: ...

    await bus.bus.js.add_stream(name="JOBS_app", subjects=["job.app.*.*.*.*"])  # limits, no work queue
    async with await bus.broker.connect("worker", service="app") as connection:
        with pytest.raises(DeclarationDrift, match="JOBS_app"):
            async with Worker(app, connection):
                pass


@pytest.mark.parametrize(
    ("source", "options", "code", "says"),
    [
        (SOURCE, {"config": {"pause": "long"}}, 2, "pause: Input should be a valid number"),
        ("import nowhere_to_be_found", {}, 2, "nowhere_to_be_found, which is not installed"),
        ("from headway.bus import Service\nother = Service('app')", {}, 2, "its services are: other"),
        (SOURCE, {"version": "V 1"}, 2, "'V 1' is not a valid version"),
        (SOURCE, {"url": "nats://127.0.0.1:1"}, 1, "no connection to nats://127.0.0.1:1"),
        ("raise ValueError('broken module')", {}, 1, "broken module"),
    ],
    ids=["configuration", "missing module", "no service", "version", "no server", "broken module"],
)
async def test_a_worker_that_cannot_start_exits_with_a_code_and_a_reason(bus, spawn, source, options, code, says):
    worker = await spawn(bus.broker, source, serving=False, **options)
    assert await worker.ended() == code, worker.log
    assert says in worker.log
