"""What a delivery's reply subject says, and the words to answer with."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.nats.delivery import Delivery, copy_id, nak, read, term


def test_the_short_form_is_read():
    assert read("$JS.ACK.JOBS_fax.v1-3.2.104.7.1700000000000000000.41") == Delivery("JOBS_fax", "v1-3", 2, 104, 41)


def test_the_long_form_is_read_with_and_without_its_random_part():
    long = "$JS.ACK._.hash.JOBS_fax.v1-3.2.104.7.1700000000000000000.41"
    assert read(long) == read(f"{long}.random") == Delivery("JOBS_fax", "v1-3", 2, 104, 41)


@pytest.mark.parametrize("reply", ["", "_INBOX.a.b", "$JS.ACK.x", "$JS.FC.a.b"])
def test_anything_else_is_no_delivery(reply):
    assert read(reply) is None


@given(st.floats(0.001, 43_200))
def test_a_delay_is_sent_in_nanoseconds(delay):
    word, _, options = nak(delay).partition(b" ")
    assert word == b"-NAK"
    assert orjson.loads(options)["delay"] == pytest.approx(delay * 1e9, rel=1e-6)


def test_no_delay_is_a_plain_nak():
    assert nak(0) == b"-NAK"


def test_a_long_reason_is_cut():
    assert len(term("x" * 10_000)) <= 300


def test_the_copy_of_a_message_has_one_id_that_holds_when_it_was_stored():
    old, new = "$JS.ACK.JOBS_fax.v1-3.{}.7.9.1764427000123456789.5", "$JS.ACK.hub.acc.JOBS_fax.v1-3.{}.7.9.17.5"
    assert copy_id("aside", old.format(1)) == copy_id("aside", old.format(2)) == "aside.JOBS_fax.7.1764427000123456789"
    assert copy_id("aside", new.format(1)) == "aside.JOBS_fax.7.17"
    assert copy_id("aside", f"{new.format(1)}.random") == "aside.JOBS_fax.7.17"
