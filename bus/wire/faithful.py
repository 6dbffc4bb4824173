"""Refuse values that JSON cannot represent: NaN and infinity, integers beyond 64 bits, masked secrets, binary data.

A payload is checked only if it contains a `null` or the mask of a secret, or if the serializer failed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, SchemaSerializer

from headway.bus.errors import InvalidInput

SECRET: Final = b'"**********"'
"""What pydantic writes for a secret."""
_MASK: Final = "**********"
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def check(value: Any, serializer: SchemaSerializer) -> None:
    """Refuse a value that its JSON form does not represent fully.

    Args:
        value: the encoded value.
        serializer: pydantic's serializer of its type.

    Raises:
        InvalidInput: if so; names each field and what to do.
    """
    plain = serializer.to_python(value, mode="python", by_alias=True, warnings=False)
    sent = serializer.to_python(value, mode="json", by_alias=True, warnings=False)
    if problems := list(_losses(plain, sent, "")):
        raise _refused(problems)


def unserializable(value: Any, serializer: SchemaSerializer, error: Exception) -> InvalidInput:
    """Return the error for a value that cannot be encoded, with the fields if they are known.

    Args:
        value: the value.
        serializer: pydantic's serializer of its type.
        error: the encoder's error.
    """
    try:
        plain = serializer.to_python(value, mode="python", by_alias=True, warnings=False)
    except (PydanticSerializationError, TypeError, ValueError):
        plain = value
    if problems := list(_losses(plain, plain, "")):
        return _refused(problems)
    return InvalidInput(f"this {type(value).__name__} has no JSON form: {str(error).splitlines()[0]}")


def _refused(problems: list[str]) -> InvalidInput:
    return InvalidInput(f"JSON would change this value: {'; '.join(problems[:5])}", remedy="")


def _losses(plain: Any, sent: Any, path: str) -> Iterator[str]:
    """Yield what the JSON form of a value loses, field by field.

    Args:
        plain: the value in Python's types.
        sent: the value in JSON's types, or `plain` where there is no such form.
        path: path of the field.
    """
    if isinstance(plain, Mapping):
        others = list(sent.values()) if isinstance(sent, Mapping) and len(sent) == len(plain) else list(plain.values())
        for (key, one), other in zip(plain.items(), others, strict=True):
            if sent is plain and not isinstance(key, str):
                yield f"{path or 'payload'} has a key of type {type(key).__name__} (use text)"
            yield from _losses(one, one if sent is plain else other, f"{path}.{key}" if path else str(key))
    elif isinstance(plain, list | tuple | set | frozenset):
        others = sent if isinstance(sent, list) and len(sent) == len(plain) else list(plain)
        for number, (one, other) in enumerate(zip(plain, others, strict=True)):
            yield from _losses(one, one if sent is plain else other, f"{path}.{number}" if path else str(number))
    elif (loss := _loss(plain, sent)) is not None:
        yield f"{path or 'payload'} is {loss}"


def _loss(plain: Any, sent: Any) -> str | None:
    """Return what JSON loses of a single value that contains no others; None if nothing."""
    as_text = isinstance(sent, str)
    if isinstance(plain, float) and not math.isfinite(plain) and not as_text:
        return f"{plain}, which JSON does not have (send None, or text)"
    if isinstance(plain, int) and not _SMALLEST <= plain <= _LARGEST and not as_text:
        return "an integer beyond 64 bits (send it as text)"
    if isinstance(plain, bytes | bytearray) and not as_text and not _is_text(plain):
        return "bytes that are not UTF-8 (set ser_json_bytes and val_json_bytes to 'base64' in its model)"
    if isinstance(plain, SecretStr | SecretBytes | Secret) and (sent == _MASK or sent is plain):
        return "a secret, which would be sent as a mask (declare it as `str`, or with a field_serializer)"
    return None


def _is_text(data: bytes | bytearray) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
