"""The contract check: can the new version replace the old one for clients that only know the old one?

Both serve the same subjects at once during a rollout, and jobs of the old one are still queued. So valid requests,
jobs and events have to stay valid, and callers of the old version have to understand the replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headway.deployer.schemas import SchemaDifference, fields, uncovered
from headway.images.image import Schemas

_TAKES: Final = {"rpc": "request", "job": "job", "on": "event"}
_BOUNDS: Final = {
    "minLength": "least length",
    "maxLength": "greatest length",
    "minItems": "least number of items",
    "maxItems": "greatest number of items",
    "minProperties": "least number of fields",
    "maxProperties": "greatest number of fields",
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "minimum (exclusive)",
    "exclusiveMaximum": "maximum (exclusive)",
    "multipleOf": "step",
    "uniqueItems": "items must differ",
}


def violations(old: Mapping[str, Schemas], new: Mapping[str, Schemas]) -> list[str]:
    """Return what would break if `new` replaced `old`, one sentence each; empty if nothing.

    Args:
        old: schemas of the old version's handlers, as its image's manifest has them.
        new: those of the new version.
    """
    found = []
    for key, was in old.items():
        kind, _, name = key.partition(".")
        what = f"{kind} {name}"
        if key not in new:
            found.append(f"{what}: it is gone")
            continue
        taken = f"{what}: {_TAKES.get(kind, 'request')}"
        found += [_narrower(taken, one) for one in uncovered(was.input, new[key].input)]
        if kind == "rpc":
            found += _reply(f"{what}: reply", was, new[key])
    return list(dict.fromkeys(found))


def _reply(what: str, old: Schemas, new: Schemas) -> list[str]:
    """Check that a reply has all that the old one had, and no values that the old one could not have."""
    differences = uncovered(new.output, old.output)
    found = [_wider(what, one) for one in differences]
    told = {one.what if one.kind in {"missing", "gone", "unknown"} else one.where for one in differences}
    kept = set(fields(new.output))
    for name in () if "" in told else fields(old.output):
        if name not in kept and not any(name == part or name.startswith((f"{part}.", f"{part}[")) for part in told):
            found.append(f"{what} has lost its field {name}")
            told.add(name)
    return found


def _narrower(what: str, one: SchemaDifference) -> str:
    """Describe a difference between the input accepted before (a) and now (b)."""
    where = f"{what} field {one.where}" if one.where else what
    match one.kind:
        case "missing":
            return f"{what} field {one.what} is required now, and was not"
        case "gone":
            return f"{what} has a new required field {one.what}"
        case "unknown":
            return f"{what} field {one.what} is refused now"
        case "type":
            return f"{where} no longer takes any {one.what}"
        case "value":
            return f"{where} no longer takes {one.what}"
        case "bound":
            return f"{where} is stricter: {_bound(one.what, one.b)}, was {_bound('', one.a)}"


def _wider(what: str, one: SchemaDifference) -> str:
    """Describe a difference between the reply now (a) and before (b)."""
    where = f"{what} field {one.where}" if one.where else what
    match one.kind:
        case "missing":
            return f"{what} field {one.what} may be missing now"
        case "gone":
            return f"{what} has lost its field {one.what}"
        case "unknown":
            return f"{what} has a new field {one.what}, which callers of the old version refuse"
        case "type":
            return f"{where} may be a value of type {one.what} now"
        case "value":
            return f"{where} may be {one.what} now"
        case "bound":
            return f"{where} is wider: {_bound(one.what, one.a)}, was {_bound('', one.b)}"


def _bound(keyword: str, value: object) -> str:
    words = _BOUNDS.get(keyword, keyword)
    return f"{words} {'none' if value is None else value}".strip()
