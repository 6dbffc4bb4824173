"""Dead letters: their headers, and the digest by which the same fault is known again."""

import traceback
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.client import dead
from headway.bus.wire import headers
from headway.bus.wire.subjects import token


def fails_here(text):
    raise ValueError(text)


def fails_there(text):
    raise ValueError(text)


def caught(function, text="x"):
    try:
        function(text)
    except Exception as error:
        return error
    raise AssertionError


def composed(original=None, reason="why", error=None):
    return dead.compose(
        original,
        cause=dead.Cause.ERROR,
        reason=reason,
        attempts=3,
        error=error,
        subject="job.fax.v1.3.acme.send",
        stream="JOBS_fax",
        sequence=17,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_the_same_fault_has_the_same_digest_whatever_its_text():
    assert dead.digest(caught(fails_here, "one")) == dead.digest(caught(fails_here, "two"))


def test_another_code_path_or_type_has_another_digest():
    assert dead.digest(caught(fails_here)) != dead.digest(caught(fails_there))
    assert dead.digest(caught(fails_here)) != dead.digest(caught(int))


def test_a_digest_is_short_and_of_hexadecimal_digits():
    digest = dead.digest(caught(fails_here))
    assert len(digest) == 12
    assert int(digest, 16) >= 0


@given(st.dictionaries(st.from_regex(r"X-[A-Za-z]{1,10}", fullmatch=True), st.text(max_size=20)), st.text())
def test_the_original_headers_are_kept_and_the_reason_is_safe_on_the_wire(original, reason):
    found = composed(original, reason)
    assert original.items() <= found.items()
    assert "\n" not in found[headers.DEAD_REASON]
    assert "\r" not in found[headers.DEAD_REASON]


def test_what_belongs_to_the_first_delivery_is_not_kept():
    found = composed({"Nats-Msg-Id": "old", headers.TIMEOUT: "1", "Nats-Expected-Stream": "JOBS_fax"})
    assert headers.TIMEOUT not in found
    assert "Nats-Expected-Stream" not in found
    assert found[headers.MESSAGE_ID] == "JOBS_fax.17", "giving up twice stores one letter"


def test_a_letter_says_why_how_often_where_and_when():
    error = caught(fails_here)
    found = composed(error=error)
    assert found[headers.DEAD_CAUSE] == "error"
    assert found[headers.DEAD_ATTEMPTS] == "3"
    assert found[headers.DEAD_TRACEBACK] == dead.digest(error)
    assert found[headers.DEAD_SUBJECT] == "job.fax.v1.3.acme.send"
    assert (found[headers.DEAD_STREAM], found[headers.DEAD_SEQUENCE]) == ("JOBS_fax", "17")
    assert datetime.fromisoformat(found[headers.DEAD_AT]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert not any(line in str(found) for line in traceback.format_tb(error.__traceback__))


@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True), min_size=1, max_size=4).map(".".join))
def test_the_operation_of_a_dead_event_follows_the_grammar(event_type):
    assert token(dead.operation_of_event(event_type), "operation").startswith("on-")
