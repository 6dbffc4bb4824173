"""Payloads: validated by pydantic, encoded by orjson."""

import dataclasses
import datetime as dt
import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from headway.bus.errors import DeclarationError, InvalidInput
from headway.bus.wire.codec import Codec, codec_for, encode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


class Letter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: uuid.UUID
    at: dt.datetime
    pages: list[int] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int


@given(json_values)
def test_plain_json_values_come_back_as_they_were(value):
    assert orjson.loads(encode(value)) == value


@given(st.uuids(), st.datetimes(timezones=st.just(dt.UTC)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_a_model_comes_back_as_it_was(id_, at, pages):
    codec = codec_for(Letter)
    letter = Letter(id=id_, at=at, pages=pages)
    assert codec.decode(codec.encode(letter)) == letter


def test_untyped_values_with_models_and_dataclasses_inside_are_encoded():
    letter = Letter(id=uuid.UUID(int=1), at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert b'"x":1' in encode({"points": [Point(1, 2)], "letter": letter, "tags": {"a"}})


def test_no_payload_is_null():
    assert Codec(None).decode(b"") is None
    with pytest.raises(InvalidInput):
        Codec(Letter).decode(b"")


def test_an_error_names_the_fields_and_never_repeats_the_payload():
    with pytest.raises(InvalidInput) as caught:
        Codec(Letter).decode(b'{"id": "top-secret", "at": "hidden", "colour": "s3cret"}')
    text = str(caught.value)
    assert "id:" in text
    assert "at:" in text
    assert "colour:" in text
    assert not {"top-secret", "hidden", "s3cret"} & set(text.replace('"', " ").split())


def test_a_long_list_of_errors_is_cut():
    with pytest.raises(InvalidInput, match="and 95 more"):
        Codec(list[int]).decode(b"[" + b",".join([b'"x"'] * 100) + b"]")


@pytest.mark.parametrize("broken", [b"{", b"\xff", b"[1,", b"nul"])
def test_what_is_not_json_is_invalid_input(broken):
    with pytest.raises(InvalidInput):
        Codec(Letter).decode(broken)


def test_a_type_without_a_schema_is_refused_when_it_is_declared():
    with pytest.raises(DeclarationError, match="cannot be sent"):
        Codec(object())


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(InvalidInput, match="no JSON form"):
        encode({"x": object()})


def test_a_codec_is_built_once_for_a_type():
    assert codec_for(Letter) is codec_for(Letter)
