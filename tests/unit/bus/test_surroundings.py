"""Log lines, the switch of telemetry, versions for the micro protocol, reconnect waits, what the package exports."""

import logging
import types

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Server

from headway import bus
from headway.bus.client.connection import reconnect_plan
from headway.bus.telemetry import otel as telemetry
from headway.bus.telemetry.logs import JsonFormatter
from headway.bus.worker.micro import semantic_version


def record(message="hello", **extra):
    made = logging.LogRecord("headway", logging.INFO, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


@given(st.text())
def test_every_log_line_is_one_line_of_json(message):
    text = JsonFormatter({"service": "fax"}).format(record(message))
    assert "\n" not in text
    line = orjson.loads(text)
    assert line["message"] == message
    assert line["service"] == "fax"
    assert line["level"] == "info"


def test_a_log_line_carries_the_facts_of_its_message_and_the_traceback():
    try:
        raise ValueError("secret")  # noqa: TRY301
    except ValueError as error:
        made = record(headway={"tenant": "acme", "trace_id": "t"}, exc_info=(ValueError, error, error.__traceback__))
    line = orjson.loads(JsonFormatter({}).format(made))
    assert (line["tenant"], line["trace_id"], line["error"]) == ("acme", "t", "ValueError")
    assert "raise ValueError" in line["traceback"]


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_telemetry_is_on_exactly_if_an_exporter_is_named(environment, on):
    assert telemetry.wanted(environment) is on


def test_without_a_provider_there_are_no_instruments_at_all():
    assert telemetry.instruments() is None


@pytest.mark.parametrize(
    ("label", "version"), [("v1", "1.0.0"), ("12", "12.0.0"), ("blue", "0.0.0-blue"), ("v1-rc", "0.0.0-v1-rc")]
)
def test_a_label_becomes_a_semantic_version(label, version):
    assert semantic_version(label) == version


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_reconnecting_tries_the_least_tried_server_and_waits_at_most_two_seconds(tries):
    servers = [Server(uri=types.SimpleNamespace(netloc=str(i)), reconnects=n) for i, n in enumerate(tries)]
    server, wait = reconnect_plan(servers, {})
    assert server.reconnects == min(tries)
    assert 0 <= wait <= 2


def test_what_the_package_promises_is_there_and_sorted():
    assert sorted(bus.__all__) == bus.__all__
    assert all(getattr(bus, name) is not None for name in bus.__all__)
