"""JSON schemas as sets of values: is each value of one also a value of the other?

`uncovered(a, b)` says why not. For what pydantic writes its "yes" is never wrong; where it cannot tell, it says no.
It assumes that senders only send the fields named in their schema, unless it explicitly allows others
(`additionalProperties`). Otherwise no field could ever be added.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Schema = Mapping[str, Any] | bool

_COMBINING: Final = ("$ref", "allOf", "anyOf", "oneOf", "enum", "const", "type")
_SAYING: Final = frozenset(
    {
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that describe and do not constrain."""
_TYPES: Final = ("null", "boolean", "object", "array", "number", "string")
_LEAST: Final = {"string": "minLength", "array": "minItems", "object": "minProperties"}
_MOST: Final = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}
_KNOWN: Final = {
    "object": {"properties", "required", "additionalProperties", "propertyNames"},
    "array": {"items", "prefixItems", "uniqueItems"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_OF_TYPE: Final = {
    "string": {"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType", "contentSchema"},
    "array": _KNOWN["array"] | {"minItems", "maxItems", "contains", "minContains", "maxContains", "unevaluatedItems"},
    "object": _KNOWN["object"]
    | {
        "minProperties",
        "maxProperties",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
    },
    "number": _KNOWN["number"],
}
_OF_SOME_TYPE: Final = frozenset().union(*_OF_TYPE.values())

Kind = Literal["missing", "gone", "unknown", "type", "value", "bound"]


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """Values of a that are not values of b.

    Attributes:
        kind: "missing": a field that b requires may be missing in a; "gone": a does not have it at all; "unknown": a
            field of a that b refuses; "type" and "value": what a may be and b may not; "bound": a keyword that
            constrains b more.
        where: path of the field.
        what: the field, type, value or keyword.
        a, b: the keyword's values; None if there is none.
    """

    kind: Kind
    where: str
    what: str
    a: Any = None
    b: Any = None


@dataclass(frozen=True, slots=True)
class _Branch:
    """One alternative of a schema: one value (type "value"), or all values of a type that its keywords allow."""

    type: str
    keywords: Mapping[str, Any]
    value: Any = None


def uncovered(a: Schema, b: Schema) -> list[SchemaDifference]:
    """Return why a value of `a` may not be a value of `b`; empty if every value is."""
    return list(_Comparison(a, b).schemas(a, b, ""))


def fields(schema: Schema) -> Iterator[str]:
    """Return the paths of all fields that a schema names, including nested ones."""
    yield from dict.fromkeys(_fields(_Document(schema), schema, "", frozenset()))


def _fields(document: _Document, schema: Schema, where: str, around: frozenset[str]) -> Iterator[str]:
    schema = document.resolved(schema)
    key = _canonical(schema)
    if key in around:
        return  # recursive: already visited
    around |= {key}
    for branch in document.branches(schema):
        for name, inner in branch.keywords.get("properties", {}).items():
            yield _inside(where, name)
            yield from _fields(document, inner, _inside(where, name), around)
        items = enumerate(branch.keywords.get("prefixItems", ()))
        parts = [(inner, f"{where}[{index}]") for index, inner in items]
        parts += [(branch.keywords["items"], f"{where}[]")] if "items" in branch.keywords else []
        others = branch.keywords.get("additionalProperties", False)
        for inner, path in (*parts, (others, _inside(where, "*"))):
            yield from _fields(document, inner, path, around)


class _Document:
    """A schema that parts of it may refer to."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolved(self, schema: Schema) -> Schema:
        """Return the target of a schema's reference, or the schema itself without one."""
        seen: set[str] = set()
        while isinstance(schema, Mapping) and "$ref" in schema and not _constraints(schema) - {"$ref"}:
            reference = schema["$ref"]
            if reference in seen:
                return True  # it only refers to itself
            seen.add(reference)
            schema = self._at(reference)
        return schema

    def branches(self, schema: Schema, within: frozenset[str] = frozenset()) -> list[_Branch]:
        """Return the alternatives of a schema.

        One that is the schema itself again (`within` its references) does not count.
        """
        if schema is False:
            return []
        keywords = {} if schema is True else {name: schema[name] for name in _constraints(schema)}
        for name in ("anyOf", "oneOf"):
            if name in keywords:
                options = keywords.pop(name)
                return [branch for option in options for branch in self.branches(_both(option, keywords), within)]
        if "$ref" in keywords:
            reference = keywords.pop("$ref")
            if reference in within:
                return []
            return self.branches(_both(self._at(reference), keywords), within | {reference})
        if "allOf" in keywords:
            parts = keywords.pop("allOf")
            merged: Schema = keywords
            for part in parts:
                resolved = self.resolved(part)
                merged = _both(merged, {} if resolved is True else resolved) if resolved is not False else False
            return self.branches(merged, within)
        return list(_plain(keywords))

    def _at(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found  # type: ignore[no-any-return]


def _both(a: Schema, b: Schema) -> Schema:
    """Return a schema of the values of both.

    Conflicting keywords are kept side by side and compared as such.
    """
    if a is False or b is False:
        return False
    merged = {name: a[name] for name in _constraints(a)} if isinstance(a, Mapping) else {}
    for name in sorted(_constraints(b)) if isinstance(b, Mapping) else ():
        value = b[name]  # type: ignore[index]
        if name not in merged or merged[name] == value:
            merged[name] = value
        elif name == "required":
            merged[name] = sorted({*merged[name], *value})
        elif name == "properties":
            shared = merged[name].keys() & value.keys()
            both = {field: _both(merged[name][field], value[field]) for field in shared}
            merged[name] = {**merged[name], **value, **both}
        elif name in {"$ref", "allOf", "anyOf", "oneOf"}:
            return {"allOf": [merged, {name: value}], **{k: b[k] for k in _constraints(b) - {name}}}  # type: ignore[index]
        elif name == "type":
            types = [one for one in _as_list(merged[name]) if one in _as_list(value)]
            if {"integer", "number"} <= {*_as_list(merged[name]), *_as_list(value)} and not types:
                types = ["integer"]
            merged[name] = types
        else:
            merged[f"{name} too"] = value
    return merged


def _plain(keywords: Mapping[str, Any]) -> Iterator[_Branch]:
    """Return the alternatives of a schema without references and combinations."""
    types = _as_list(keywords.get("type", list(_TYPES)))
    values = [keywords["const"]] if "const" in keywords else keywords.get("enum")
    rest = {name: value for name, value in keywords.items() if name not in _COMBINING}
    if values is not None:
        for value in values:
            if any(_admits(value, _Branch(type_, _of(type_, rest))) for type_ in types):
                yield _Branch("value", {}, value)
        return
    for type_ in types:
        if type_ == "null":
            yield _Branch("value", {}, None)
        elif type_ == "boolean":
            yield from (_Branch("value", {}, value) for value in (True, False))
        else:
            yield _Branch(type_, _of(type_, rest))


def _of(type_: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that apply to a type; others have no effect."""
    own = _OF_TYPE.get("number" if type_ == "integer" else type_, set())
    return {
        name: value for name, value in keywords.items() if name.removesuffix(" too") in own or name not in _OF_SOME_TYPE
    }


def _constraints(schema: Schema) -> set[str]:
    if not isinstance(schema, Mapping):
        return set()
    return {name for name in schema if name not in _SAYING and not name.startswith("x-")}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class _Comparison:
    def __init__(self, a: Schema, b: Schema) -> None:
        self._a = _Document(a)
        self._b = _Document(b)
        self._compared: set[tuple[str, str]] = set()

    def schemas(self, a: Schema, b: Schema, where: str) -> Iterator[SchemaDifference]:
        """Compare two schemas, or parts of them."""
        a, b = self._a.resolved(a), self._b.resolved(b)
        pair = (_canonical(a), _canonical(b))
        if pair in self._compared:
            return  # recursive: covered if the whole is
        self._compared.add(pair)
        try:
            targets = self._b.branches(b)
            for branch in self._a.branches(a):
                yield from self._branch(branch, targets, where)
        finally:
            self._compared.discard(pair)

    def _branch(self, branch: _Branch, targets: list[_Branch], where: str) -> Iterator[SchemaDifference]:
        """Compare one alternative of a with all of b: one that covers it is enough."""
        if branch.type == "value":
            if not any(_admits(branch.value, target) for target in targets):
                yield SchemaDifference("value", where, json.dumps(branch.value))
            return
        best: list[SchemaDifference] | None = None
        for target in targets:
            if target.type == branch.type or (branch.type, target.type) == ("integer", "number"):
                found = list(self._same_type(branch, target, where))
                if not found:
                    return
                if best is None or len(found) < len(best):
                    best = found
        yield from [SchemaDifference("type", where, branch.type)] if best is None else best

    def _same_type(self, a: _Branch, b: _Branch, where: str) -> Iterator[SchemaDifference]:
        if b.type in _LEAST:
            yield from _bounds(a, b, where, _LEAST[b.type], _MOST[b.type])
        if b.type in {"number", "integer"}:
            yield from _numbers(a, b, where)
        if b.type == "object":
            yield from self._objects(a.keywords, b.keywords, where)
        if b.type == "array":
            yield from self._arrays(a.keywords, b.keywords, where)
        handled = _KNOWN.get(b.type, set()) | {_LEAST.get(b.type), _MOST.get(b.type)}
        for name in sorted(b.keywords.keys() - handled):
            if a.keywords.get(name) != b.keywords[name]:
                yield SchemaDifference(
                    "bound", where, name.removesuffix(" too"), a.keywords.get(name), b.keywords[name]
                )

    def _objects(self, a: Mapping[str, Any], b: Mapping[str, Any], where: str) -> Iterator[SchemaDifference]:
        ours, theirs = a.get("properties", {}), b.get("properties", {})
        # Without any named fields all fields are allowed; otherwise only the named ones.
        others = a.get("additionalProperties", "properties" not in a)
        unnamed = b.get("additionalProperties", True)
        for name in sorted(set(b.get("required", ())) - set(a.get("required", ()))):
            known = name in ours or others is not False
            yield SchemaDifference("missing" if known else "gone", where, _inside(where, name))
        for name, schema in ours.items():
            path = _inside(where, name)
            if name in theirs:
                yield from self.schemas(schema, theirs[name], path)
            elif unnamed is False:
                if self._a.branches(schema):
                    yield SchemaDifference("unknown", where, path)
            else:
                yield from self.schemas(schema, unnamed, path)
        if others is not False:
            if unnamed is False:
                yield SchemaDifference("unknown", where, _inside(where, "*"))
            else:
                yield from self.schemas(others, unnamed, _inside(where, "*"))
            for name in theirs.keys() - ours.keys():
                yield from self.schemas(others, theirs[name], _inside(where, name))
            if "propertyNames" in b:
                names = a.get("propertyNames", {"type": "string"})
                yield from self.schemas(names, b["propertyNames"], f"{where}'s keys")
        elif "propertyNames" in b and a.get("propertyNames") != b["propertyNames"]:
            yield SchemaDifference("bound", where, "propertyNames", a.get("propertyNames"), b["propertyNames"])

    def _arrays(self, a: Mapping[str, Any], b: Mapping[str, Any], where: str) -> Iterator[SchemaDifference]:
        if b.get("uniqueItems") and not a.get("uniqueItems"):
            yield SchemaDifference("bound", where, "uniqueItems", None, True)
        ours, theirs = a.get("prefixItems", ()), b.get("prefixItems", ())
        most = a.get("maxItems", math.inf)
        for index in range(min(max(len(ours), len(theirs)), most)):
            yield from self.schemas(_item(a, index), _item(b, index), f"{where}[{index}]")
        if most > max(len(ours), len(theirs)):
            yield from self.schemas(a.get("items", True), b.get("items", True), f"{where}[]")


def _item(keywords: Mapping[str, Any], index: int) -> Schema:
    first = keywords.get("prefixItems", ())
    found: Schema = first[index] if index < len(first) else keywords.get("items", True)
    return found


def _bounds(a: _Branch, b: _Branch, where: str, least: str, most: str) -> Iterator[SchemaDifference]:
    if b.keywords.get(least, 0) > a.keywords.get(least, 0):
        yield SchemaDifference("bound", where, least, a.keywords.get(least), b.keywords[least])
    if b.keywords.get(most, math.inf) < a.keywords.get(most, math.inf):
        yield SchemaDifference("bound", where, most, a.keywords.get(most), b.keywords[most])


def _numbers(a: _Branch, b: _Branch, where: str) -> Iterator[SchemaDifference]:
    whole = a.type == "integer"
    for name, sign in (("minimum", 1), ("maximum", -1)):
        ours, theirs = _bound(a.keywords, name, sign, whole=whole), _bound(b.keywords, name, sign, whole=whole)
        if theirs > ours:
            exclusive = f"exclusive{name.capitalize()}"
            given = exclusive if exclusive in b.keywords and name not in b.keywords else name
            was = a.keywords.get(name, a.keywords.get(exclusive))
            yield SchemaDifference("bound", where, given, was, b.keywords[given])
    step = b.keywords.get("multipleOf")
    if step is not None and not _multiple(a.keywords.get("multipleOf", 1 if whole else None), step):
        yield SchemaDifference("bound", where, "multipleOf", a.keywords.get("multipleOf"), step)


def _bound(keywords: Mapping[str, Any], name: str, sign: int, *, whole: bool) -> tuple[float, bool]:
    """Return the lowest allowed value and whether it is exclusive; negated for the highest one."""
    bounds = [(-math.inf, False)]
    if name in keywords:
        bounds.append((sign * keywords[name], False))
    exclusive = f"exclusive{name.capitalize()}"
    if exclusive in keywords:
        bounds.append((sign * keywords[exclusive], True))
    value, without = max(bounds)
    if whole and math.isfinite(value):
        return math.floor(value) + 1 if without else math.ceil(value), False
    return value, without


def _multiple(value: float | None, of: float) -> bool:
    if value is None:
        return False
    quotient = value / of
    return quotient == round(quotient)


def _admits(value: Any, branch: _Branch) -> bool:
    """Return whether a value belongs to an alternative; objects and arrays only if it is unconstrained."""
    keywords = branch.keywords
    match branch.type:
        case "value":
            return _canonical(value) == _canonical(branch.value)
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "number" | "integer":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            if keywords.keys() - _KNOWN["number"] or (branch.type == "integer" and value != int(value)):
                return False
            exact = _Branch(branch.type, {"minimum": value, "maximum": value, "multipleOf": value})
            return not list(_numbers(exact, branch, ""))
        case "string":
            return isinstance(value, str) and _text(value, keywords)
        case "object":
            return isinstance(value, dict) and not keywords
        case _:
            return isinstance(value, list) and not keywords


def _text(value: str, keywords: Mapping[str, Any]) -> bool:
    if not keywords.get("minLength", 0) <= len(value) <= keywords.get("maxLength", math.inf):
        return False
    if keywords.keys() - {"minLength", "maxLength", "pattern"}:
        return False  # an unknown format
    try:
        return "pattern" not in keywords or re.search(keywords["pattern"], value) is not None
    except re.error:
        return False


def _canonical(value: Any) -> str:
    """Return whether two values are equal in JSON schema: 1 equals 1.0, but not true."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    return json.dumps(plain, sort_keys=True)


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
