"""Payloads against schemas: what no handler takes is found, and what pydantic converts is not refused."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headway.schemas import problems, suggestion


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    size: int = 12


class Letter(BaseModel):
    name: str
    copies: int = 1
    price: Decimal | None = None
    at: datetime | None = None
    paper: Literal["a4", "a5"] = "a4"
    lines: list[Line] = []
    note: str | None = None


ADAPTER = TypeAdapter(Letter)
SCHEMA = ADAPTER.json_schema()


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"nam": "Ada"}, "name: Field required, is it 'nam'?"),
        ({}, "name: Field required"),
        (None, "the payload: should be an object, not null"),
        ([1], "the payload: should be an object, not a list"),
        ({"name": None}, "name: should be text, not null"),
        ({"name": {"first": "Ada"}}, "name: should be text, not an object"),
        ({"name": "Ada", "copies": "many"}, "copies: should be a whole number, not text"),
        ({"name": "Ada", "paper": "a44"}, "paper: should be one of a4, a5, did you mean 'a4'?"),
        ({"name": "Ada", "lines": [{"txt": "x"}]}, "lines[0].text: Field required, is it 'txt'?"),
        ({"name": "Ada", "lines": {"text": "x"}}, "lines: should be a list, not an object"),
        ({"name": "Ada", "lines": [{"text": "x", "sise": 3}]}, "lines[0].sise: is not known, did you mean 'size'?"),
    ],
)
def test_what_no_handler_takes_is_told_by_its_place(payload, found):
    assert problems(SCHEMA, payload)[0] == found


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "Ada"},
        {"name": "Ada", "copies": "3", "price": "1.50", "at": "2026-01-01T00:00:00Z", "note": None},
        {"name": "Ada", "further": [1, 2], "copies": 2.0, "lines": [{"text": "x", "size": "9"}]},
    ],
)
def test_what_pydantic_converts_or_ignores_is_no_problem(payload):
    ADAPTER.validate_python(payload)
    assert problems(SCHEMA, payload) == []


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["a4", "3", "Ada", ""]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "size", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
fields = st.sampled_from(["name", "copies", "price", "at", "paper", "lines", "note", "nam"])


@given(st.dictionaries(fields, values, max_size=5) | values)
def test_nothing_that_a_handler_takes_is_ever_refused(payload):
    try:
        ADAPTER.validate_python(payload)
    except ValidationError:
        return
    assert problems(SCHEMA, payload) == []


def test_a_name_that_is_near_none_gets_no_suggestion():
    assert suggestion("letter", ["letters", "greet"]) == ", did you mean 'letters'?"
    assert suggestion("zzz", ["letters"]) == ""
