"""Typed payloads: pydantic validates incoming data, orjson encodes outgoing data.

Decoding goes straight from bytes to the model (`validate_json`), because strict types and dates follow JSON's
rules only there. Encoding turns the model into JSON's own types first and lets orjson write them.
See docs/decisions/0003-pydantic-validate-orjson-encode.md.

Encoding and validation agree: fields are sent under their aliases, replies have the declared type, and the sender
refuses values that JSON cannot represent (NaN, integers beyond 64 bits, secrets; bus/wire/faithful.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

import orjson
from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, PydanticUndefinedType, to_jsonable_python

from headway.bus.errors import DeclarationError, InvalidInput
from headway.bus.wire.faithful import SECRET, check, unserializable

T = TypeVar("T")

_MAX_PROBLEMS = 5
_UNTYPED: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MAY_HOLD_FLOATS: Final = frozenset({"float", "any", "json", "function-plain", "function-wrap", "is-instance"})
_PLAIN: Final = frozenset({bool, int, float, str})
_FIELDS: Final = frozenset({"model-field", "dataclass-field", "typed-dict-field"})


class Codec(Generic[T]):
    """Encodes and decodes values of one type. Create it once: this compiles the schema.

    Args:
        type_: any type pydantic supports: a model, a dataclass, a TypedDict, `int`, `list[Model]`, `None`.

    Raises:
        DeclarationError: if pydantic has no schema for the type, or a field is sent and read under different names.
    """

    __slots__ = ("_class", "_dump", "_floats", "_native", "_trusted", "_validate", "adapter", "type")

    def __init__(self, type_: Any) -> None:
        try:
            self.adapter: TypeAdapter[T] = TypeAdapter(type_)
        except PydanticSchemaGenerationError as error:
            raise DeclarationError(
                f"{type_!r} cannot be sent: {error.message.splitlines()[0]}",
                remedy="use a pydantic model, a dataclass or plain JSON types",
            ) from error
        self.type = type_
        self._validate = self.adapter.validator.validate_json
        self._dump = self.adapter.serializer.to_python
        self._class: Any = type_ if isinstance(type_, type) and issubclass(type_, BaseModel) else object
        self._trusted = self._class is not object or (isinstance(type_, type) and type_ in _PLAIN)
        """Skip type checks for values of exactly this class: they cost as much as all the rest of encoding."""
        self._native = False
        """Let pydantic write the JSON: only it knows how its models send NaN."""
        self._floats = False
        for node in _nodes(self.adapter.core_schema):
            if node.get("type") in _MAY_HOLD_FLOATS:
                self._floats = True
            if (node.get("config") or {}).get("ser_json_inf_nan") == "strings":
                self._native = True
            for name, field in _fields(node):
                _check_alias(type_, name, field)

    def decode(self, data: bytes) -> T:
        """Validate a payload; an empty one counts as `null`. Fields may come by alias or by name.

        Raises:
            InvalidInput: if the payload is invalid; names the fields but never repeats the payload.
        """
        try:
            value: T = self._validate(data or b"null", by_alias=True, by_name=True)
        except ValidationError as error:
            raise InvalidInput(_problems(error)) from error
        return value

    def encode(self, value: T) -> bytes:
        """Return the payload of a value.

        Raises:
            InvalidInput: if the value does not have the type, or JSON cannot represent it; names the fields.
        """
        if type(value) is not self.type and not isinstance(value, self._class):
            value, payload = self._encode_validated(value)
        else:
            try:
                payload = self._payload(value)
            except (PydanticSerializationError, TypeError, UnicodeError):
                value, payload = self._encode_validated(value)
        if SECRET in payload or (self._floats and b"null" in payload and not self._native):
            check(value, self.adapter.serializer)
        return payload

    def _payload(self, value: T) -> bytes:
        if self._native:
            return self.adapter.serializer.to_json(value, by_alias=True, warnings="error")
        if self._trusted and type(value) is self.type:
            return orjson.dumps(self._dump(value, mode="json", by_alias=True))
        return orjson.dumps(self._dump(value, mode="json", by_alias=True, warnings="error"))

    def _encode_validated(self, value: T) -> tuple[T, bytes]:
        """Encode a value that the serializer does not accept directly, such as a dict for a model."""
        try:
            value = self.adapter.validate_python(value, by_alias=True, by_name=True)
            return value, self._payload(value)
        except ValidationError as error:
            raise InvalidInput(_problems(error), remedy="return the declared type") from error
        except (PydanticSerializationError, TypeError, UnicodeError) as error:
            raise unserializable(value, self.adapter.serializer, error) from error


_codecs: dict[Any, Codec[Any]] = {}
_any: TypeAdapter[Any] = TypeAdapter(Any)


def codec_for(type_: Any) -> Codec[Any]:
    """Return the codec of a type from a cache.

    Raises:
        DeclarationError: as `Codec`.
    """
    codec = _codecs.get(type_)
    if codec is None:
        codec = _codecs[type_] = Codec(type_)
    return codec


def encode(value: Any) -> bytes:
    """Return the payload of a value whose type is not declared: a model, a dataclass or plain JSON types.

    Raises:
        InvalidInput: if JSON cannot represent the value; names the fields.
    """
    kind = type(value)
    if kind is not dict:  # pydantic's own check for its models is slow
        codec = _codecs.get(kind)
        if codec is not None or isinstance(value, BaseModel):
            return (codec or codec_for(kind)).encode(value)
    try:
        payload = orjson.dumps(value, _plain, _UNTYPED)
    except (PydanticSerializationError, TypeError, UnicodeError) as error:
        raise unserializable(value, _any.serializer, error) from error
    if SECRET in payload or b"null" in payload:
        check(value, _any.serializer)
    return payload


def _plain(value: Any) -> Any:
    if isinstance(value, PydanticUndefinedType):
        raise TypeError("an undefined value")
    return to_jsonable_python(value, by_alias=True)


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a core schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):  # otherwise it maps field names, and a field may be named "type"
            yield schema
        for part in schema.values():
            yield from _nodes(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _nodes(part)


def _fields(node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the fields that a node of a core schema declares, with their names."""
    found = node.get("fields")
    pairs = found.items() if isinstance(found, dict) else [("", one) for one in found or ()]
    for name, field in pairs:
        if isinstance(field, dict) and field.get("type") in _FIELDS:
            yield str(name or field.get("name")), field


def _check_alias(type_: Any, name: str, field: dict[str, Any]) -> None:
    sent, read = field.get("serialization_alias"), field.get("validation_alias")
    if sent is None or sent in (name, read):
        return
    if isinstance(read, list) and (read == [sent] or [sent] in read):
        return
    raise DeclarationError(
        f"{type_!r} cannot be sent: its field {name!r} is written as {sent!r} but read as {read or name!r}",
        remedy="give it one `alias`, or add the serialization alias to its AliasChoices",
    )


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in problems[:_MAX_PROBLEMS]
    ]
    if len(problems) > _MAX_PROBLEMS:
        shown.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(shown)
