"""Calls on a real server: typed, limited, bounded by their deadline, with errors that say what is wrong and no more."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from pydantic import BaseModel

from headway import (
    ConnectionFailed,
    Context,
    DeadlineExceeded,
    InvalidInput,
    InvalidSubject,
    NotServed,
    NotStored,
    Overloaded,
    Reject,
    Rejected,
    RemoteError,
    Service,
    Unavailable,
)


class Number(BaseModel):
    n: int


class Held(Service):
    """A service whose call `hold` runs until `finish` is set."""

    def __init__(self, **options) -> None:
        super().__init__("app", **options)
        self.finish, self.running, self.cancelled, self.runs = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0

        @self.rpc("hold", timeout=30)
        async def hold(request: None) -> str:
            self.runs += 1
            self.running.set()
            try:
                await self.finish.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "done"


async def raw(bus, subject: str, payload: bytes = b"", **sent: str):
    """The reply as it is on the wire."""
    return await bus.bus.nc.request(
        subject, payload, timeout=5, headers={name.replace("_", "-"): value for name, value in sent.items()} or None
    )


async def test_requests_and_replies_are_models_on_both_sides(bus):
    app, received = Service("app"), []

    @app.rpc("double")
    async def double(request: Number, ctx: Context) -> Number:
        received.append((request, ctx.tenant))
        return Number(n=2 * request.n)

    @app.rpc("count")
    def count(request: list[int]) -> int:
        assert threading.current_thread().name.startswith("headway-handler")
        return len(request)

    @app.rpc("nothing")
    async def nothing(request: None) -> None: ...

    async with bus.serving(app):
        reply = await bus.call("app", "double", Number(n=4), tenant="acme", returns=Number)
        assert reply == Number(n=8)
        assert received == [(Number(n=4), "acme")]
        assert await bus.call("app", "double", {"n": 5}) == {"n": 10}
        assert await bus.call("app", "count", [1, 2, 3], returns=int) == 3
        assert await bus.call("app", "nothing") is None
        assert (await raw(bus, "rpc.app.acme.double", b'{"n":1}')).data == b'{"n":2}'


async def test_a_call_beyond_the_limit_is_refused_at_once_and_the_others_are_served(bus, until):
    app = Held(max_inflight=2)
    async with bus.serving(app) as [worker]:
        served = [asyncio.ensure_future(bus.call("app", "hold", timeout=20)) for _ in range(2)]
        await until(lambda: app.runs == 2)
        began = time.monotonic()
        with pytest.raises(Overloaded, match="2 calls are in flight"):
            await bus.call("app", "hold", timeout=20)
        assert time.monotonic() - began < 1
        assert worker.counters.shed == 1
        app.finish.set()
        assert await asyncio.gather(*served) == ["done", "done"]
        assert await bus.call("app", "hold") == "done"  # there is room again


async def test_a_caller_waits_no_longer_than_it_said_and_its_handler_is_cancelled(bus):
    app = Held()
    async with bus.serving(app) as [worker]:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await bus.call("app", "hold", timeout=0.3)
        assert 0.25 < time.monotonic() - began < 2
        await asyncio.wait_for(app.cancelled.wait(), 5)
        assert worker.beat().rpc_inflight == 0


async def test_a_handler_is_cancelled_after_its_own_timeout_too(bus):
    app = Service("app")

    @app.rpc("slow", timeout=0.1)
    async def slow(request: None) -> None:
        await asyncio.Event().wait()

    async with bus.serving(app):
        with pytest.raises(DeadlineExceeded, match=r"not done within 0\.1"):
            await bus.call("app", "slow", timeout=20)


async def test_a_request_that_comes_too_late_is_answered_504_without_running(bus):
    app = Held()
    app.finish.set()
    async with bus.serving(app):
        reply = await raw(bus, "rpc.app.acme.hold", Headway_Timeout="0")
        assert reply.headers["Nats-Service-Error-Code"] == "504"
        assert app.runs == 0
        reply = await raw(bus, "rpc.app.acme.hold", Headway_Timeout="5000")
        assert (reply.data, app.runs) == (b'"done"', 1)


async def test_nested_calls_inherit_the_deadline(bus):
    app, deadlines = Service("app"), {}

    @app.rpc("outer", timeout=30)
    async def outer(request: None, ctx: Context) -> None:
        deadlines["outer"] = ctx.deadline
        await ctx.call("app", "inner", None, returns=type(None), timeout=30)

    @app.rpc("inner", timeout=30)
    async def inner(request: None, ctx: Context) -> None:
        deadlines["inner"], deadlines["left"] = ctx.deadline, ctx.remaining()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    cancelled = asyncio.Event()
    async with bus.serving(app):
        asked = time.time() + 0.5
        with pytest.raises(DeadlineExceeded):
            await bus.call("app", "outer", timeout=0.5)
        await asyncio.wait_for(cancelled.wait(), 5)
    assert deadlines["outer"] == pytest.approx(asked, abs=0.1)
    assert deadlines["inner"] == pytest.approx(
        deadlines["outer"], abs=0.1
    )  # what is left travels, so the way there counts
    assert 0 < deadlines["left"] <= 0.5


async def test_a_nested_call_may_ask_for_less_and_its_failure_is_told_apart(bus):
    app = Service("app")

    @app.rpc("outer", timeout=30)
    async def outer(request: None, ctx: Context) -> str:
        try:
            await ctx.call("app", "inner", None, timeout=0.1)
        except DeadlineExceeded:
            return "inner was too slow"
        return "inner answered"

    @app.rpc("inner", timeout=30)
    async def inner(request: None) -> None:
        await asyncio.Event().wait()

    async with bus.serving(app):
        assert await bus.call("app", "outer", timeout=10) == "inner was too slow"


async def test_a_rejection_reaches_the_caller_in_its_own_words(bus):
    app = Service("app")

    @app.rpc("refuse")
    async def refuse(request: None) -> None:
        raise Reject("there is no\nsuch number")

    async with bus.serving(app) as [worker]:
        with pytest.raises(Rejected, match="there is no such number"):
            await bus.call("app", "refuse")
        reply = await raw(bus, "rpc.app.acme.refuse")
        assert reply.data == b""
        assert reply.headers["Nats-Service-Error"] == "there is no such number"
        assert reply.headers["Nats-Service-Error-Code"] == "422"
        assert (worker.counters.rejected, worker.counters.failed) == (2, 0)


async def test_invalid_input_names_the_field_and_not_the_value(bus):
    app = Held()

    @app.rpc("double")
    async def double(request: Number) -> Number:
        raise AssertionError("it ran")

    async with bus.serving(app):
        with pytest.raises(InvalidInput, match="n: Input should be a valid integer") as caught:
            await bus.call("app", "double", {"n": "secret"})
        assert "secret" not in str(caught.value)
        reply = await raw(bus, "rpc.app.acme.double", b"\xff{")
        assert reply.headers["Nats-Service-Error-Code"] == "400"
        assert reply.headers["Headway-Error"] == "invalid_input"


async def test_an_error_gives_its_id_to_the_caller_and_its_text_to_the_log_alone(bus, caplog):
    app = Service("app")

    @app.rpc("fail")
    async def fail(request: None) -> None:
        raise RuntimeError("password=hunter2")

    with caplog.at_level(logging.ERROR, "headway.bus"):
        async with bus.serving(app) as [worker]:
            with pytest.raises(RemoteError) as caught:
                await bus.call("app", "fail", tenant="acme")
            reply = await raw(bus, "rpc.app.acme.fail")
            assert worker.counters.failed == 2
    assert len(caught.value.error_id) == 22
    assert caught.value.error_id in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert reply.headers["Nats-Service-Error-Code"] == "500"
    assert "hunter2" not in str(reply.headers) + reply.data.decode()
    record = next(r for r in caplog.records if getattr(r, "headway", {}).get("error_id") == caught.value.error_id)
    assert record.headway["cause"] == "password=hunter2"
    assert (record.headway["tenant"], record.headway["operation"]) == ("acme", "fail")


@pytest.mark.parametrize("away", [ConnectionFailed("no server"), NotStored("no leader"), NotServed("no worker")])
async def test_a_call_whose_handler_did_not_reach_what_it_needs_can_be_tried_again(bus, caplog, away):
    app = Service("app")

    @app.rpc("reach")
    async def reach(request: None) -> None:
        raise away

    with caplog.at_level(logging.WARNING, "headway.bus"):
        async with bus.serving(app):
            with pytest.raises(Unavailable, match="a dependency of reach does not answer") as caught:
                await bus.call("app", "reach", tenant="acme")
            reply = await raw(bus, "rpc.app.acme.reach")
    assert caught.value.retryable
    assert (reply.headers["Nats-Service-Error-Code"], reply.headers["Headway-Error"]) == ("503", "unavailable")
    assert any(away.message in record.getMessage() for record in caplog.records), "the log says what was away"


async def test_a_reply_larger_than_the_server_takes_is_an_error_that_says_so(bus):
    app = Service("app")

    @app.rpc("large")
    async def large(request: int) -> str:
        return "x" * request

    async with bus.serving(app) as (worker,):
        with pytest.raises(RemoteError, match="the reply has 2000002 bytes, the server's limit is 1048576"):
            await bus.call("app", "large", 2_000_000)
        assert len(await bus.call("app", "large", 1_000_000, timeout=5)) == 1_000_000  # the connection is still there
        assert (worker.counters.failed, worker.counters.processed) == (1, 1)


async def test_a_request_larger_than_the_server_takes_is_refused_before_it_is_sent(bus):
    app = Service("app")

    @app.rpc("length")
    async def length(request: str) -> int:
        return len(request)

    async with bus.serving(app):
        with pytest.raises(InvalidInput, match="store large data as a blob"):
            await bus.call("app", "length", "x" * (1 << 20))
        assert await bus.call("app", "length", "x" * 1_000_000, timeout=5) == 1_000_000


async def test_two_workers_share_the_calls(bus):
    app = Service("app")

    @app.rpc("who")
    async def who(request: None, ctx: Context) -> str:
        return ctx.worker

    async with bus.serving(app, workers=2) as workers:
        answers = await asyncio.gather(*(bus.call("app", "who", timeout=10) for _ in range(200)))
        assert {worker.name for worker in workers} == set(answers)
        assert min(answers.count(worker.name) for worker in workers) > 40


async def test_routes_split_calls_between_versions(bus):
    app = Service("app")

    @app.rpc("which")
    async def which(request: None, ctx: Context) -> str:
        return ctx.version

    async with bus.serving(app, version="v1"), bus.serving(app, version="v2", weights={"v1": 50, "v2": 50}):
        answers = await asyncio.gather(*(bus.call("app", "which", timeout=10) for _ in range(200)))
    assert 40 < answers.count("v1") < 160
    assert set(answers) == {"v1", "v2"}


@pytest.mark.parametrize("service", ["app", "unknown"])
async def test_without_a_worker_a_call_fails_at_once(bus, service):
    await bus.broker.set_routes({"app": {"v1": 100}})
    began = time.monotonic()
    with pytest.raises(NotServed, match=f"rpc.{service}.test.hold"):
        await bus.call(service, "hold", timeout=20)
    assert time.monotonic() - began < 1


async def test_an_operation_that_does_not_exist_is_not_served(bus):
    async with bus.serving(Held()):
        with pytest.raises(NotServed):
            await bus.call("app", "other", timeout=20)


async def test_a_name_that_breaks_the_grammar_never_reaches_the_wire(bus):
    with pytest.raises(InvalidSubject):
        await bus.call("app", "hold", tenant="acme.>")
