"""Refuse integers that browsers would round: JavaScript numbers are doubles, exact only up to 2^53 - 1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from headway.bus.errors import InvalidInput

LARGEST: Final = (1 << 53) - 1
_LONG: Final = re.compile(rb"[0-9]{16}")


def refuse_inexact(payload: bytes, what: str) -> None:
    """Refuse a JSON value with integers that a browser would round.

    Raises:
        InvalidInput: if there is one; names the field.
    """
    if _LONG.search(payload) is None:  # the usual case, checked quickly
        return
    for path, number in _inexact(orjson.loads(payload), ()):
        field = ".".join(map(str, path)) or "the value"
        raise InvalidInput(
            f"{what}: {field} is {number}, an integer that browsers would round",
            remedy="store it as text, such as Annotated[int, PlainSerializer(str, when_used='json')]",
        )


def _inexact(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(value, int) and abs(value) > LARGEST:
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _inexact(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _inexact(part, (*path, index))
