"""Typed payloads: pydantic validates what comes in, orjson encodes what goes out.

Decoding goes straight from bytes to the model (`validate_json`), because strict types and dates follow JSON's
rules only there. Encoding turns the model into JSON's own types first and lets orjson write them.
See docs/decisions/0003-pydantic-validate-orjson-encode.md.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from headway.bus.errors import DeclarationError, InvalidInput

T = TypeVar("T")

_MAX_PROBLEMS = 5


class Codec(Generic[T]):
    """Bytes to a value of one type and back. Build it once: the schema is compiled here.

    Args:
        type_: anything pydantic takes: a model, a dataclass, a TypedDict, `int`, `list[Model]`, `None`.

    Raises:
        DeclarationError: if pydantic has no schema for the type.
    """

    __slots__ = ("_dump", "_validate", "adapter", "type")

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

    def decode(self, data: bytes) -> T:
        """Validate a payload; an empty one counts as `null`.

        Raises:
            InvalidInput: naming each field that is wrong, never repeating the payload itself.
        """
        try:
            value: T = self._validate(data or b"null")
        except ValidationError as error:
            raise InvalidInput(_problems(error)) from error
        return value

    def encode(self, value: T) -> bytes:
        """The payload of a value."""
        return orjson.dumps(self._dump(value, mode="json"))


_codecs: dict[Any, Codec[Any]] = {}


def codec_for(type_: Any) -> Codec[Any]:
    """The codec of a type, built once.

    Raises:
        DeclarationError: if pydantic has no schema for the type.
    """
    codec = _codecs.get(type_)
    if codec is None:
        codec = _codecs[type_] = Codec(type_)
    return codec


def encode(value: Any) -> bytes:
    """The payload of a value whose type is not declared: a model, a dataclass or plain JSON types.

    Raises:
        InvalidInput: if it has no JSON form.
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError as error:
        raise InvalidInput(f"this {type(value).__name__} has no JSON form: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not serializable")


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in problems[:_MAX_PROBLEMS]
    ]
    if len(problems) > _MAX_PROBLEMS:
        shown.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(shown)
