"""Payloads: validated by pydantic, encoded by orjson."""

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

import jsonschema
import orjson
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, SecretStr, field_serializer
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from headway.bus.errors import DeclarationError, InvalidInput
from headway.bus.wire.codec import Codec, codec_for, encode

X = TypeVar("X")

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


class Aliased(BaseModel):
    sender: str = Field(alias="from")
    pages: int = Field(1, validation_alias=AliasChoices("pageCount", "pages"), serialization_alias="pageCount")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    first_name: str
    inner: list[Aliased] = []


class Read(BaseModel):
    number: int = Field(validation_alias="no")


class Colour(enum.Enum):
    RED = "red"
    TEN = 10


class Level(enum.IntEnum):
    LOW = 1


class Cat(BaseModel):
    kind: Literal["cat"] = Field("cat", alias="petType")
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = Field("dog", alias="petType")
    name: str


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Boxed(BaseModel, Generic[X]):
    content: X
    at: dt.datetime | None = None


class Numbers(RootModel[list[int]]):
    pass


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@dataclasses.dataclass
class Price:
    amount: Decimal
    currency: str = "EUR"
    colour: Colour = Colour.RED


@pydantic.dataclasses.dataclass
class Parcel:
    weight: Decimal = Field(alias="w")


class Binary(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


class Times(BaseModel):
    at: dt.datetime
    day: dt.date
    time: dt.time
    wait: dt.timedelta


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**64 - 1)
times = st.builds(
    Times,
    at=st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30))])),
    day=st.dates(),
    time=st.times(timezones=st.none() | st.just(dt.UTC)),
    wait=st.timedeltas(dt.timedelta(days=-999), dt.timedelta(days=999)),
)
pets = st.builds(Cat, lives=integers) | st.builds(Dog, name=text)
aliased = st.builds(Aliased, **{"from": text, "pageCount": integers})
FEATURES = {
    "aliases": (Aliased, aliased),
    "an alias generator": (Camel, st.builds(Camel, firstName=text, inner=st.lists(aliased, max_size=2))),
    "an alias that is only read": (Read, st.builds(Read, no=integers)),
    "a discriminated union": (Owner, st.builds(Owner, pet=pets)),
    "a generic model": (Boxed[Aliased], st.builds(Boxed[Aliased], content=aliased)),
    "a root model": (Numbers, st.lists(integers, max_size=3).map(Numbers)),
    "a TypedDict": (Movie, st.fixed_dictionaries({"title": text}, optional={"year": integers})),
    "a dataclass with Decimal": (Price, st.builds(Price, amount=decimals, colour=st.sampled_from(Colour))),
    "a pydantic dataclass with an alias": (Parcel, decimals.map(lambda w: Parcel(w=w))),
    "bytes": (Binary, st.builds(Binary, data=st.binary(max_size=20))),
    "dates, times and durations": (Times, times),
    "an enum": (Colour, st.sampled_from(Colour)),
    "an integer enum": (Level, st.sampled_from(Level)),
    "an optional body": (Aliased | None, st.none() | aliased),
    "a list of models": (list[Aliased], st.lists(aliased, max_size=3)),
    "a dict of models": (dict[str, Aliased], st.dictionaries(text, aliased, max_size=3)),
    "a tuple": (tuple[int, str], st.tuples(integers, text)),
    "a set": (set[int], st.sets(integers, max_size=3)),
    "a number": (float, st.floats(allow_nan=False, allow_infinity=False)),
    "an id": (uuid.UUID, st.uuids()),
}


@pytest.mark.parametrize(("type_", "values"), FEATURES.values(), ids=FEATURES)
@given(data=st.data())
def test_what_is_sent_is_what_is_validated(type_, values, data):
    value = data.draw(values)
    codec = codec_for(type_)
    assert codec.decode(codec.encode(value)) == value
    assert codec.decode(encode(value)) == value


@pytest.mark.parametrize(("type_", "values"), FEATURES.values(), ids=FEATURES)
@given(data=st.data())
def test_what_is_sent_meets_the_schemas_that_are_published(type_, values, data):
    sent = orjson.loads(codec_for(type_).encode(data.draw(values)))
    jsonschema.validate(sent, codec_for(type_).adapter.json_schema(mode="serialization"))


def test_models_inside_plain_values_go_by_their_aliases_too():
    assert orjson.loads(encode({"letters": [Aliased(**{"from": "a"})], "parcel": Parcel(w=Decimal(1))})) == {
        "letters": [{"from": "a", "pageCount": 1}],
        "parcel": {"w": "1"},
    }


def test_a_field_that_is_sent_by_another_name_than_it_is_read_is_refused_when_it_is_declared():
    class Torn(BaseModel):
        sender: str = Field(serialization_alias="from")

    with pytest.raises(DeclarationError, match=r"'sender' is written as 'from' but read as 'sender'.*alias"):
        Codec(list[Torn])


class Reading(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    value: float


class Measured(BaseModel):
    name: str | None = None
    values: list[float] = []
    total: int = 0
    password: SecretStr | None = None
    anything: Any = None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused_at_the_sender_by_its_field(number):
    for send in (encode, codec_for(Measured).encode):
        with pytest.raises(InvalidInput, match=r"values\.1 is .*JSON does not have .*send None"):
            send(Measured(values=[1, number]))
        with pytest.raises(InvalidInput, match=r"anything\.a is "):
            send(Measured(anything={"a": number}))
    with pytest.raises(InvalidInput, match=r"points\.0\.x is "):
        encode({"points": [{"x": number}], "none": None})


def test_a_model_that_says_how_its_infinity_is_sent_has_its_way():
    codec = codec_for(Reading)
    assert codec.decode(codec.encode(Reading(value=float("inf")))).value == float("inf")


def test_nothing_else_that_is_null_is_taken_for_lost():
    measured = Measured(values=[1.5])
    assert orjson.loads(encode(measured))["name"] is None
    assert encode({"a": None, "b": [1.0]}) == b'{"a":null,"b":[1.0]}'


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_is_refused_at_the_sender_by_its_field(number):
    for send in (encode, codec_for(Measured).encode):
        with pytest.raises(InvalidInput, match=r"total is an integer beyond 64 bits .*as text"):
            send(Measured(total=number))
    with pytest.raises(InvalidInput, match=r"a\.0 is an integer beyond 64 bits"):
        encode({"a": [number]})
    with pytest.raises(InvalidInput, match="payload is an integer beyond 64 bits"):
        codec_for(int).encode(number)


def test_a_secret_is_refused_at_the_sender_and_never_sent_as_its_mask():
    for send in (encode, codec_for(Measured).encode):
        with pytest.raises(InvalidInput, match=r"password is a secret") as caught:
            send(Measured(password=SecretStr("hunter2")))
        assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidInput, match="token is a secret"):
        encode({"token": SecretStr("hunter2")})
    assert encode({"stars": "**********"}) == b'{"stars":"**********"}'


def test_a_secret_whose_model_says_how_it_is_sent_is_sent():
    class Login(BaseModel):
        password: SecretStr

        @field_serializer("password")
        def reveal(self, password: SecretStr) -> str:
            return password.get_secret_value()

    assert codec_for(Login).decode(encode(Login(password=SecretStr("**********")))).password is not None
    assert encode(Login(password=SecretStr("a"))) == b'{"password":"a"}'


def test_bytes_that_are_no_text_are_refused_at_the_sender_by_their_field():
    class Raw(BaseModel):
        data: bytes

    for send in (encode, codec_for(Raw).encode):
        with pytest.raises(InvalidInput, match=r"data is bytes that are not UTF-8 .*base64"):
            send(Raw(data=b"\xff"))


@pytest.mark.parametrize(
    ("type_", "value"), [(int, "many"), (Aliased, {"pages": 1}), (None, 5), (list[int], ["x"]), (Aliased, Point(1, 2))]
)
def test_a_value_of_another_type_than_declared_is_refused(type_, value):
    with pytest.raises(InvalidInput):
        codec_for(type_).encode(value)


def test_a_dict_that_is_a_valid_model_is_sent_as_one():
    assert codec_for(Aliased).encode({"from": "a"}) == b'{"from":"a","pageCount":1}'
    with pytest.raises(InvalidInput, match="from: Field required"):
        codec_for(Aliased).encode({"pages": 2})


class Labelled(BaseModel):
    """A model whose fields have the names of a core schema's own keys."""

    type: str
    fields: list[str]
    config: float


def test_a_field_may_be_called_as_a_part_of_pydantics_schemas_is():
    codec = Codec(Labelled)
    value = Labelled(type="fax", fields=["to"], config=0.5)
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(InvalidInput):
        codec.encode(Labelled(type="fax", fields=[], config=float("nan")))
