"""What JetStream and nats-py refuse, as Headway's errors."""

import asyncio
import re
from pathlib import Path

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import APIError, ServiceUnavailableError

from headway.bus.errors import (
    Conflict,
    ConnectionFailed,
    InvalidInput,
    MissingStream,
    NotFound,
    NotServed,
    NotStored,
    QueueFull,
    StoreError,
)
from headway.bus.nats.refusals import asking, is_full, refusal, translate, translating
from headway.bus.wire import headers


@pytest.mark.parametrize(
    ("code", "description", "kind"),
    [
        (10059, "stream not found", MissingStream),
        (10071, "wrong last sequence: 7", Conflict),
        (10164, "wrong last sequence", Conflict),
        (10037, "no message found", NotFound),
        (10158, "duplicate message id is in process", NotStored),
        (10077, "maximum bytes exceeded", QueueFull),
        (10047, "insufficient storage resources available", QueueFull),
        (None, "maximum messages per subject exceeded", QueueFull),
        (10003, "bad request", StoreError),
        (None, None, StoreError),
    ],
)
def test_each_code_has_its_error_in_answers_and_in_exceptions(code, description, kind):
    said = {"code": 400, "err_code": code, "description": description}
    assert type(refusal("x", said)) is kind
    raised = translate(APIError(code=400, err_code=code, description=description), "x")
    assert type(raised) is kind
    assert raised.message.startswith("x: ")


@pytest.mark.parametrize("error", [TimeoutError(), nats.errors.ConnectionClosedError(), ServiceUnavailableError()])
def test_no_answer_is_a_failed_connection(error):
    assert isinstance(translate(error, "x"), ConnectionFailed)


def test_a_full_store_is_told_from_one_that_has_no_leader():
    assert is_full(10077, "maximum bytes exceeded")
    assert not is_full(10008, "JetStream system temporarily unavailable")


async def test_what_is_asked_is_bounded_in_time_and_its_errors_are_ours():
    with pytest.raises(ConnectionFailed, match="no answer"):
        async with asking("x", 0.01):
            await asyncio.sleep(5)
    with pytest.raises(MissingStream):
        async with asking("x", 5):
            raise APIError(code=404, err_code=10059, description="stream not found")


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12)))
def test_headers_are_parted_into_those_that_can_be_sent_and_the_rest(fields):
    good, bad = headers.sendable(fields)
    assert {**good, **bad} == fields
    assert all(name.isascii() and name and not set(name) & set(" ():") for name in good)
    assert all(value.encode() is not None for value in good.values())


def test_a_name_with_brackets_cannot_be_sent():
    assert headers.sendable({"X-Paren(1)": "a", "X-Plain": "b"}) == ({"X-Plain": "b"}, {"X-Paren(1)": "a"})


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (nats.errors.NoRespondersError(), NotServed),
        (nats.errors.MaxPayloadError(), InvalidInput),
        (nats.errors.ConnectionClosedError(), ConnectionFailed),
        (nats.errors.OutboundBufferLimitError(), ConnectionFailed),
        (nats.errors.TimeoutError(), TimeoutError),
        (TimeoutError(), TimeoutError),
        (KeyError(), KeyError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_a_connection_raises_is_translated_and_a_timeout_stays_one(raised, ours):
    with pytest.raises(ours) as caught, translating("rpc.fax.acme.send"):
        raise raised
    assert type(caught.value) is ours or isinstance(raised, TimeoutError)


def test_only_the_adapter_knows_the_errors_of_nats_py():
    root = Path(__file__).parents[3]
    parts = ("bus", "broker", "control", "images", "scaler", "deployer", "clientsync", "services", "headway")
    files = {path.resolve() for part in parts for path in (root / part).rglob("*.py")}
    named = re.compile(r"^(from|import) nats(\.js)?\.errors|^from nats(\.js)? import .*\berrors", re.MULTILINE)
    others = [path for path in sorted(files) if path.parent != root / "bus/nats"]
    assert len(others) > 200
    assert not [str(path.relative_to(root)) for path in others if named.search(path.read_text())]
