"""The contract check: what still works is let through, whatever would break is named."""

from __future__ import annotations

import copy
from typing import Literal, NotRequired

import jsonschema
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from headway import Service
from headway.bus.schemas import schemas
from headway.deployer.contract import violations
from headway.deployer.schemas import uncovered
from headway.images.image import Schemas

NAMES = ("a", "b", "c")
WORDS = ("x", "y", "zz", "longer word")


# Schemas as pydantic writes them, and values of them.


def scalars():
    small = st.integers(-5, 5)
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.builds(
            lambda kind, low, span, closed: {
                "type": kind,
                **low_of(low, closed),
                **({} if span is None else {"maximum": low + span}),
            },
            st.sampled_from(["integer", "number"]),
            small,
            st.none() | st.integers(1, 6),
            st.booleans(),
        ),
        st.builds(lambda kind: {"type": kind}, st.sampled_from(["integer", "number", "string"])),
        st.builds(
            lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
            st.integers(0, 3),
            st.integers(0, 4),
        ),
        st.builds(
            lambda values: {"type": "string", "enum": values}, st.lists(st.sampled_from(WORDS), min_size=1, unique=True)
        ),
        st.builds(lambda value: {"type": "string", "const": value}, st.sampled_from(WORDS)),
        st.just({"type": "string", "pattern": "^[xyz]+$"}),
    )


def low_of(low, closed):
    return {"minimum": low} if closed else {"exclusiveMinimum": low}


def composed(inner):
    objects = st.builds(
        lambda properties, required, closed: {
            "type": "object",
            "properties": properties,
            **({"required": sorted(set(properties) & required)} if set(properties) & required else {}),
            **({"additionalProperties": False} if closed else {}),
        },
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        st.sets(st.sampled_from(NAMES)),
        st.booleans(),
    )
    arrays = st.builds(
        lambda items, least, most: {
            "type": "array",
            "items": items,
            **({"minItems": least} if least else {}),
            **({} if most is None else {"maxItems": least + most}),
        },
        inner,
        st.integers(0, 2),
        st.none() | st.integers(0, 2),
    )
    pairs = st.builds(
        lambda one, two: {"type": "array", "prefixItems": [one, two], "minItems": 2, "maxItems": 2}, inner, inner
    )
    maps = st.builds(lambda values: {"type": "object", "additionalProperties": values}, inner)
    unions = st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
    return st.one_of(objects, arrays, pairs, maps, unions)


NODE = {"$ref": "#/$defs/Node"}
PARTS = st.recursive(scalars() | st.just(NODE), composed, max_leaves=8)


@st.composite
def whole(draw):
    """A schema with a definition that may refer to itself."""
    node = {
        "type": "object",
        "properties": {"a": draw(scalars()), "next": {"anyOf": [NODE, {"type": "null"}], "default": None}},
        "required": ["a"],
    }
    return {**draw(PARTS.filter(lambda one: one != NODE)), "$defs": {"Node": node}}


def values(draw, root, schema, depth=0):
    """A value that keeps to a schema: fields that it names, and others only if it allows them."""
    if "$ref" in schema:
        return values(draw, root, root["$defs"]["Node"], depth + 1)
    if "anyOf" in schema:
        options = schema["anyOf"]
        return values(draw, root, options[-1] if depth > 3 else draw(st.sampled_from(options)), depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    match schema["type"]:
        case "null":
            return None
        case "boolean":
            return draw(st.booleans())
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -9) + ("exclusiveMinimum" in schema))
            high = schema.get("maximum", low + 9)
            return draw(st.integers(low, high) if schema["type"] == "integer" else st.integers(low * 2, high * 2)) / (
                1 if schema["type"] == "integer" else 2
            )
        case "string" if "pattern" in schema:
            return draw(st.text("xyz", min_size=1, max_size=4))
        case "string":
            return draw(st.text("xyz w", min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 6)))
        case "array":
            least = schema.get("minItems", 0)
            count = draw(st.integers(least, schema.get("maxItems", least + 2)))
            items = schema.get("prefixItems") or [schema["items"]] * count
            return [values(draw, root, one, depth + 1) for one in items[:count]]
    found = {
        name: values(draw, root, inner, depth + 1)
        for name, inner in schema.get("properties", {}).items()
        if name in schema.get("required", ()) or (depth < 3 and draw(st.booleans()))
    }
    others = schema.get("additionalProperties", False)
    if others is not False and "properties" not in schema:
        for name in draw(st.sets(st.sampled_from(NAMES), max_size=2)):
            found[name] = values(draw, root, others, depth + 1)
    return found


def places(schema):
    """All schemas in a schema, itself included."""
    yield schema
    for inner in (
        *schema.get("properties", {}).values(),
        *schema.get("prefixItems", ()),
        *schema.get("anyOf", ()),
        *(schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)),
        *schema.get("$defs", {}).values(),
    ):
        yield from places(inner)


def widened(draw, schema):
    """One change after which all that was valid still is; None if this schema has no place for it."""
    kind = schema.get("type")
    wider = []
    if kind == "integer":
        wider.append({**schema, "type": "number"} if "exclusiveMinimum" not in schema else None)
    if "enum" in schema:
        wider.append({**schema, "enum": [*schema["enum"], "a new one"]})
    if "const" in schema:
        wider.append({"type": "string", "enum": [schema["const"], "a new one"]})
    wider += [
        {key: value for key, value in schema.items() if key != keyword}
        for keyword in ("minimum", "maximum", "minLength", "maxLength", "pattern", "exclusiveMinimum", "minItems")
        if keyword in schema and "prefixItems" not in schema
    ]
    if schema.get("additionalProperties") is False:
        wider.append({key: value for key, value in schema.items() if key != "additionalProperties"})
    if schema.get("required"):
        wider.append({**schema, "required": schema["required"][1:]})
    if "properties" in schema:
        wider.append({**schema, "properties": {**schema["properties"], "new": {"type": "integer"}}})
    if "anyOf" in schema:
        wider.append({**schema, "anyOf": [*schema["anyOf"], {"type": "boolean"}]})
    if kind is not None and "$defs" not in schema:
        wider.append({"anyOf": [schema, {"type": "null"}]})
    possible = [one for one in wider if one is not None]
    return draw(st.sampled_from(possible)) if possible else None


@st.composite
def widenings(draw):
    """A schema, and one that takes all its values and more."""
    old = draw(whole())
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(places(new))))
        changed = widened(draw, copy.deepcopy(place))
        if changed is not None:
            place.clear()
            place.update(changed)
    return old, new


@st.composite
def changes(draw):
    """A schema, and another one that shares much with it."""
    old = draw(whole())
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from([one for one in places(new) if "$defs" not in one] or [new["$defs"]["Node"]]))
        donor = copy.deepcopy(draw(st.sampled_from([one for one in places(old) if "$defs" not in one]) | PARTS))
        place.clear()
        place.update(donor)
    assume(not is_itself(new["$defs"]["Node"]))
    return old, new


def is_itself(schema):
    """Whether a definition is itself or something else, which no type is."""
    return schema == NODE or any(map(is_itself, schema.get("anyOf", ())))


@given(whole())
def test_a_schema_covers_itself(schema):
    assert uncovered(schema, schema) == []


@given(widenings())
def test_a_wider_request_is_never_refused(pair):
    old, new = pair
    event("changed" if old != new else "the same")
    assert uncovered(old, new) == []


@given(widenings(), st.data())
def test_what_is_wider_takes_what_was_valid(pair, data):
    old, new = pair  # holds the generators of this file to account
    value = values(data.draw, old, old)
    jsonschema.validate(value, old)
    jsonschema.validate(value, new)


@given(changes(), st.data())
def test_if_a_value_of_the_old_schema_is_none_of_the_new_one_something_is_told(pair, data):
    old, new = pair
    told = uncovered(old, new)
    event("told" if told else "not told")
    for _ in range(5):
        value = values(data.draw, old, old)
        jsonschema.validate(value, old)
        if not jsonschema.Draft202012Validator(new).is_valid(value):
            assert told, value


# The sentences, by handlers as they are written.


class Send(BaseModel):
    to: str
    pages: int = 1
    kind: Literal["fine", "coarse"] = "fine"
    tags: list[str] = []
    next: Send | None = None


class Sent(BaseModel):
    id: str
    at: float
    note: str | None = None


def declared(request=Send, reply=Sent, kind="rpc", name="op"):
    service = Service("x")

    async def handler(request): ...

    handler.__annotations__ = {"request": request, "return": reply if kind == "rpc" else None}
    getattr(service, kind)(name)(handler)
    return {name: Schemas.model_validate(one) for name, one in schemas(service).items()}


def requests(**changed):
    """`Send` with fields changed."""
    fields = {name: (info.annotation, info) for name, info in Send.model_fields.items()}
    fields.update(changed)
    from pydantic import create_model

    return create_model("Send", **{name: field for name, field in fields.items() if field is not None})


REQUESTS = {
    "a new required field": (requests(sender=(str, ...)), ["request has a new required field sender"]),
    "optional becomes required": (requests(pages=(int, ...)), ["request field pages is required now, and was not"]),
    "a removed value": (requests(kind=(Literal["fine"], "fine")), ['request field kind no longer takes "coarse"']),
    "another type": (requests(to=(int, ...)), ["request field to no longer takes any string"]),
    "a stricter bound": (
        requests(pages=(int, Field(1, le=9))),
        ["request field pages is stricter: maximum 9, was none"],
    ),
    "a pattern": (requests(to=(str, Field(pattern="^1"))), ["request field to is stricter: pattern ^1, was none"]),
    "an item's type": (requests(tags=(list[int], [])), ["request field tags[] no longer takes any string"]),
    "no null": (requests(next=(Send, Send(to="x"))), ["request field next no longer takes null"]),
    "a new optional field": (requests(cover=(bool, False)), []),
    "a removed optional field": (requests(pages=None), []),
    "another value": (requests(kind=(Literal["fine", "coarse", "photo"], "fine")), []),
    "a wider type": (requests(pages=(float, 1)), []),
    "required becomes optional": (requests(to=(str, "1")), []),
    "another default": (requests(pages=(int, 2)), []),
}


@pytest.mark.parametrize(("request_", "expected"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(("kind", "word"), [("rpc", "request"), ("job", "job"), ("on", "event")])
def test_requests_jobs_and_events_may_only_become_wider(request_, expected, kind, word):
    found = violations(declared(kind=kind), declared(request_, kind=kind))
    assert found == [f"{kind} op: {sentence.replace('request', word, 1)}" for sentence in expected]


class Lost(BaseModel):
    id: str
    note: str | None = None


class Wider(BaseModel):
    id: str | int
    at: float
    note: str | None = None


class More(Sent):
    pages: int = 0


class Shut(Sent):
    model_config = ConfigDict(extra="forbid")


class ShutMore(More):
    model_config = ConfigDict(extra="forbid")


class Now(BaseModel):
    id: str
    at: int
    note: str


class Maybe(TypedDict):
    id: str
    at: NotRequired[float]


class Surely(TypedDict):
    id: str
    at: float


class WithoutAt(TypedDict):
    id: str


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Sent, Lost, ["reply has lost its field at"]),
        (Sent, Wider, ["reply field id may be a value of type integer now"]),
        (Now, Sent, ["reply field at may be a value of type number now", "reply field note may be null now"]),
        (Shut, ShutMore, ["reply has a new field pages, which callers of the old version refuse"]),
        (Surely, Maybe, ["reply field at may be missing now"]),
        (Maybe, WithoutAt, ["reply has lost its field at"]),
        (list[Sent], list[Lost], ["reply has lost its field [].at"]),
        (dict[str, Sent], dict[str, Lost], ["reply has lost its field *.at"]),
        (Sent, None, ["reply may be null now"]),
        (Sent, More, []),
        (Sent, Now, []),
        (Maybe, Surely, []),
        (Sent, Sent, []),
    ],
)
def test_replies_may_only_become_narrower_and_lose_no_field(old, new, expected):
    found = violations(declared(reply=old), declared(reply=new))
    assert found == [f"rpc op: {sentence}" for sentence in expected]


def test_an_operation_that_is_gone_is_told_and_a_new_one_is_fine():
    old, new = declared(name="send"), declared(name="status")
    assert violations(old, new) == ["rpc send: it is gone"]
    assert violations(old, {**old, **new}) == []


def test_a_job_that_becomes_a_call_is_gone():
    assert violations(declared(kind="job"), declared(kind="rpc")) == ["job op: it is gone"]


def test_a_field_that_is_refused_now_is_told():
    class Strict(Send):
        model_config = ConfigDict(extra="forbid")

    shut = declared(requests(pages=None, next=None))["rpc.op"].model_copy()
    shut = Schemas(input={**shut.input, "additionalProperties": False}, output=shut.output)
    assert violations(declared(), {"rpc.op": shut}) == [
        "rpc op: request field pages is refused now",
        "rpc op: request field next is refused now",
    ]
    assert violations(declared(), declared(Strict)) == [], "it names all that was there"


def test_what_cannot_be_compared_is_told_rather_than_let_through():
    assert [one.what for one in uncovered({"type": "string"}, {"type": "string", "not": {"const": "x"}})] == ["not"]
    assert uncovered({"type": "string", "not": {"const": "x"}}, {"type": "string"}) == []
