"""OpenTelemetry on a real server: one trace over calls and jobs, metrics, log lines, and nothing while it is off."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from itertools import pairwise

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headway import CallError, Context, Reject, Service

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch):
    """Telemetry is on, and the finished spans are kept. Ask for it before `bus`."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The API lets a provider be set only once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def reader(monkeypatch):
    """Telemetry is on, and the metrics can be read. Ask for it before `bus`."""
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", provider)
    yield found
    provider.shutdown()


def chain() -> tuple[Service, asyncio.Event, dict[str, str]]:
    """A service whose call `outer` calls `inner`, which submits the job `work`; and the headers each one saw."""
    app, worked, seen = Service("app"), asyncio.Event(), {}

    @app.rpc("outer")
    async def outer(request: None, ctx: Context) -> None:
        seen["outer"] = ctx.headers.get("traceparent", "")
        await ctx.call("app", "inner", None)

    @app.rpc("inner")
    async def inner(request: None, ctx: Context) -> None:
        seen["inner"] = ctx.headers.get("traceparent", "")
        await ctx.submit("app", "work", 1)

    @app.job("work")
    async def work(request: int, ctx: Context) -> None:
        seen["work"] = ctx.headers.get("traceparent", "")
        worked.set()

    return app, worked, seen


async def test_a_call_a_nested_call_and_the_job_it_submits_are_one_trace(spans, bus, until):
    app, worked, _ = chain()
    async with bus.serving(app):
        await bus.call("app", "outer", tenant="acme")
        await asyncio.wait_for(worked.wait(), 10)
        await until(lambda: len(spans.get_finished_spans()) == 6)
    finished = {(span.kind, span.name): span for span in spans.get_finished_spans()}
    expected = [
        (SpanKind.CLIENT, "app/outer"),
        (SpanKind.SERVER, "process app/outer"),
        (SpanKind.CLIENT, "app/inner"),
        (SpanKind.SERVER, "process app/inner"),
        (SpanKind.PRODUCER, "publish job.app.{tenant}.work"),
        (SpanKind.CONSUMER, "process app/work"),
    ]
    assert set(finished) == set(expected)
    assert finished[expected[0]].parent is None
    for parent, child in pairwise(expected):
        assert finished[child].parent is not None, child
        assert finished[child].parent.span_id == finished[parent].context.span_id, child
    assert len({span.context.trace_id for span in finished.values()}) == 1
    consumed = finished[expected[-1]].attributes
    assert consumed["messaging.system"] == "nats"
    assert consumed["messaging.operation.type"] == "process"
    assert consumed["messaging.consumer.group.name"] == "app-v1"
    assert (consumed["headway.tenant"], consumed["headway.attempt"]) == ("acme", 1)
    assert finished[expected[0]].attributes["rpc.method"] == "outer"


async def test_a_trace_begun_by_another_program_is_continued_also_in_threads(spans, bus, until):
    app = Service("app")
    seen = []

    @app.rpc("sync")
    def sync(request: None) -> None:
        seen.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")

    async with bus.serving(app):
        await bus.bus.nc.request("rpc.app.acme.sync", b"", timeout=5, headers={"traceparent": PARENT})
        await until(spans.get_finished_spans)
    [span] = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert seen == [TRACE]


async def test_an_error_marks_its_span_and_leaves_its_text_out(spans, bus, until):
    app = Service("app")

    @app.rpc("refuse")
    async def refuse(request: None) -> None:
        raise Reject("secret")

    async with bus.serving(app):
        with pytest.raises(CallError):
            await bus.call("app", "refuse")
        await until(lambda: len(spans.get_finished_spans()) == 2)
    for span in spans.get_finished_spans():
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "rejected"
        assert "secret" not in span.to_json()


async def test_metrics_count_what_was_sent_processed_and_is_under_way(reader, bus, until):
    app, finish, running = Service("app"), asyncio.Event(), asyncio.Event()

    @app.job("work")
    async def work(request: int) -> None:
        running.set()
        await finish.wait()

    @app.rpc("refuse")
    async def refuse(request: None) -> None:
        raise Reject("no")

    def points(name: str) -> list:
        data = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics if data else []
        return [point for metric in found if metric.name == name for point in metric.data.data_points]

    async with bus.serving(app) as [worker]:
        for n in range(3):
            await bus.submit("app", "work", n)
        await until(lambda: worker.beat().in_hand == 3)
        await asyncio.wait_for(running.wait(), 10)
        await until(lambda: sum(point.value for point in points("headway.inflight")) == 3)
        finish.set()
        await until(lambda: worker.counters.processed == 3)
        with pytest.raises(CallError):
            await bus.call("app", "refuse")
        [published] = points("messaging.client.sent.messages")
        assert (published.value, published.attributes["messaging.destination.template"]) == (
            3,
            "job.app.{tenant}.work",
        )
        processed = points("messaging.process.duration")
        durations = {point.attributes["messaging.operation.name"]: point for point in processed}
        assert (durations["job"].count, durations["rpc"].count) == (3, 1)
        assert durations["rpc"].attributes["error.type"] == "rejected"
        assert [point.value for point in points("headway.inflight")] == [0, 0]
        [called] = points("rpc.client.duration")
        assert (called.count, called.attributes["rpc.method"]) == (1, "refuse")


async def test_while_it_is_off_there_are_no_instruments_and_traces_still_pass_through(bus):
    app, worked, seen = chain()
    async with bus.serving(app) as [worker]:
        assert bus.bus.telemetry is None
        assert worker.bus.telemetry is None
        await bus.call("app", "outer", timeout=10)
        await asyncio.wait_for(worked.wait(), 10)
        assert (seen["outer"], seen["inner"], seen["work"]) == ("", "", "")
        worked.clear()
        await bus.bus.nc.request("rpc.app.acme.outer", b"", timeout=10, headers={"traceparent": PARENT})
        await asyncio.wait_for(worked.wait(), 10)
        assert (seen["outer"], seen["inner"], seen["work"]) == (PARENT, PARENT, PARENT)


SOURCE = """
from headway import Context, Service

app = Service("app")

@app.rpc("greet")
async def greet(request: str, ctx: Context) -> str:
    ctx.log.info("greeting")
    return "hello " + request

@app.rpc("fail")
async def fail(request: None, ctx: Context) -> str:
    raise RuntimeError("broken")
"""


async def test_log_lines_are_json_and_carry_the_facts_and_the_trace_of_their_message(bus, spawn):
    worker = await spawn(bus.broker, SOURCE, version="v2", name="w1")
    await bus.broker.set_routes({"app": {"v2": 100}})
    for operation in ("greet", "fail"):
        await bus.bus.nc.request(
            f"rpc.app.acme.{operation}",
            b'"Ann"' if operation == "greet" else b"",
            timeout=5,
            headers={"traceparent": PARENT},
        )
    await worker.says("broken")
    await worker.says("greeting")
    lines = [json.loads(line) for line in worker.lines]
    greeting = next(line for line in lines if line["message"] == "greeting")
    assert greeting["level"] == "info"
    assert (greeting["service"], greeting["version"], greeting["worker"]) == ("app", "v2", "w1")
    assert (greeting["tenant"], greeting["operation"]) == ("acme", "greet")
    assert greeting["trace_id"] == TRACE
    failure = next(line for line in lines if line["message"] == "fail failed")
    assert (failure["level"], failure["error"], failure["trace_id"]) == ("error", "RuntimeError", TRACE)
    assert "broken" in failure["traceback"]
    assert len(failure["error_id"]) == 22


async def test_the_usual_variables_set_the_exporter(bus, spawn):
    worker = await spawn(
        bus.broker, SOURCE, env={"OTEL_TRACES_EXPORTER": "console", "OTEL_RESOURCE_ATTRIBUTES": "team=fax"}
    )
    await bus.broker.set_routes({"app": {"v1": 100}})
    await bus.bus.nc.request("rpc.app.acme.greet", b'"Ann"', timeout=5, headers={"traceparent": PARENT})
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == 0  # what is buffered is exported at the end
    assert '"name": "process app/greet"' in worker.log
    assert f'"trace_id": "0x{TRACE}"' in worker.log
    assert '"service.name": "app"' in worker.log
    assert '"team": "fax"' in worker.log


async def test_a_collector_that_is_down_delays_no_end(bus, spawn):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    worker = await spawn(bus.broker, SOURCE, env={"OTEL_EXPORTER_OTLP_ENDPOINT": nobody})
    await bus.broker.set_routes({"app": {"v1": 100}})
    await bus.bus.nc.request("rpc.app.acme.greet", b'"Ann"', timeout=5)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == 0
    assert time.monotonic() - began < 9, "the SDK tries for ten seconds, with spans and metrics each"
