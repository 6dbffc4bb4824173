"""The configuration of a version, from the arguments of a command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from headway.bus.errors import UsageError


def configuration(file: Path | None, values: Iterable[str]) -> dict[str, Any]:
    """Return the values of a JSON file, overridden by `KEY=VALUE` pairs. A VALUE is JSON or plain text.

    Raises:
        UsageError: if the file cannot be read, or a pair is invalid.
    """
    return {**_file(file), **dict(map(_pair, values))}


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", remedy="give a JSON file") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a JSON object", remedy='write {"key": value, ...}')
    return found


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set {text!r} is not KEY=VALUE", remedy="write --set speed=20")
    try:
        return key, orjson.loads(value)
    except orjson.JSONDecodeError:
        return key, value
