"""Checks a payload against a handler's JSON schema. Pure.

The check is lenient on purpose: pydantic converts values ("5" is accepted as a number) and knows aliases, so a strict
validator would refuse what a handler accepts. Only definite errors are found here: a missing field, an object instead
of text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

_NAMES: Final = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
_WANTED: Final = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
_SIMPLE: Final = {"array": [], "string": "...", "boolean": True, "integer": 1, "number": 1, "null": None}
"""Examples of plain types."""
_DEEPEST: Final = 8
"""Levels of an example: a model may contain itself."""


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Return the errors of a payload, one sentence each; empty if there are none.

    Args:
        schema: JSON schema, as pydantic writes it.
        value: the payload as plain Python values.
    """
    return _problems(schema, value, "", schema.get("$defs", {}))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` with the most similar known name; empty if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _problems(schema: Mapping[str, Any], value: Any, path: str, models: Mapping[str, Any]) -> list[str]:
    while "$ref" in schema:
        schema = models.get(schema["$ref"].removeprefix("#/$defs/"), {})
    for several in ("anyOf", "oneOf"):
        if several in schema:
            branches = [_problems(one, value, path, models) for one in schema[several]]
            return min(branches, key=len, default=[])
    kind = schema.get("type")
    where = path or "the payload"
    if kind in _WANTED and not _may_become(kind, value):
        return [f"{where}: should be {_WANTED[kind]}, not {_NAMES.get(type(value), 'a number')}"]
    if "enum" in schema and isinstance(value, str) and value not in schema["enum"]:
        return [f"{where}: should be one of {', '.join(map(str, schema['enum']))}{suggestion(value, schema['enum'])}"]
    if isinstance(value, dict) and "properties" in schema:
        return _fields(schema, value, path, models)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [
            found for i, one in enumerate(value) for found in _problems(schema["items"], one, f"{path}[{i}]", models)
        ]
    return []


def _fields(schema: Mapping[str, Any], value: dict[str, Any], path: str, models: Mapping[str, Any]) -> list[str]:
    known: Mapping[str, Any] = schema["properties"]
    unknown = [name for name in value if name not in known]
    prefix = f"{path}." if path else ""
    found = [
        f"{prefix}{name}: Field required" + (f", is it {close[0]!r}?" if close else "")
        for name in schema.get("required", ())
        if name not in value
        for close in [difflib.get_close_matches(name, unknown, n=1)]
    ]
    if schema.get("additionalProperties") is False:
        found += [f"{prefix}{name}: is not known{suggestion(name, known)}" for name in unknown]
    for name, inner in known.items():
        if name in value:
            found += _problems(inner, value[name], prefix + name, models)
    return found


def _may_become(kind: str, value: Any) -> bool:
    """Return whether pydantic may convert a value into a JSON type."""
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "null":
            return value is None
        case "integer" | "number" if isinstance(value, str):
            try:
                float(value)
            except ValueError:
                return False
            return True
        case _:
            return value is not None and not isinstance(value, dict | list)


def example(schema: Mapping[str, Any]) -> Any:
    """Return a value that a JSON schema describes, with the fields that it requires."""
    return _example(schema, schema.get("$defs", {}), 0)


def _example(schema: Mapping[str, Any], models: Mapping[str, Any], depth: int) -> Any:
    while "$ref" in schema:
        schema = models.get(schema["$ref"].removeprefix("#/$defs/"), {})
    if depth > _DEEPEST:
        return None
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    for several in ("examples", "enum"):
        if schema.get(several):
            return schema[several][0]
    for branches in ("anyOf", "oneOf", "allOf"):
        if schema.get(branches):
            return _example(schema[branches][0], models, depth + 1)
    if schema.get("type") == "object" or "properties" in schema:
        fields: Mapping[str, Any] = schema.get("properties", {})
        return {
            name: _example(fields[name], models, depth + 1) for name in schema.get("required", ()) if name in fields
        }
    return _SIMPLE.get(schema.get("type", ""), {})
