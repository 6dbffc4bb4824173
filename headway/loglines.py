"""Formats the output of workers and control processes as terminal lines."""

from __future__ import annotations

import os
import sys
import zlib
from typing import Final

import orjson

from headway.output import echo

_KNOWN = frozenset({"at", "logger", "service", "version", "worker", "traceback"})
"""Fields that a line omits: they are in its label, or useless in a terminal."""
_COLOURS: Final = (36, 35, 34, 32, 33, 96, 95, 94, 92)
"""Foregrounds of labels (SGR), each readable on black and on white; red is left to errors."""
_DIM: Final = 2
_RED: Final = 31
_OURS: Final = frozenset({"scaler", "deployer", "web", "store", "routes", "up", "nats-server"})
"""Labels of Headway's own processes: dim, so that services stand out."""
_BAD: Final = ("ERROR: ", "CRITICAL: ", "error: ", "Traceback ")


def say(label: str, line: str) -> None:
    """Print a line of a process on standard error; a JSON log line becomes text."""
    echo(shown(label, readable(line), colour=_wants_colour()), err=True)


def shown(label: str, text: str, *, colour: bool) -> str:
    """Return a line with its label.

    Args:
        label: the process, such as `fax-v1`; all versions of a service have the same colour.
        text: what it wrote.
        colour: whether the terminal shows colours.
    """
    padded = f"{label:<14}"
    if not colour:
        return f"{padded} {text}"
    ours = label in _OURS
    service = label.rpartition("-")[0] or label
    code = _DIM if ours else _COLOURS[zlib.crc32(service.encode()) % len(_COLOURS)]
    body = f"\x1b[{_RED}m{text}\x1b[0m" if text.startswith(_BAD) else f"\x1b[{_DIM}m{text}\x1b[0m" if ours else text
    return f"\x1b[{code}m{padded}\x1b[0m {body}"


def _wants_colour() -> bool:
    """Return whether standard error is a terminal with colours (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb")


def readable(line: str) -> str:
    """Return a JSON log line as text; anything else stays as it is."""
    if not line.startswith("{"):
        return line
    try:
        record = orjson.loads(line)
        text = f"{record.pop('level')}: {record.pop('message')}"
    except (orjson.JSONDecodeError, KeyError, AttributeError):
        return line
    details = " ".join(f"{key}={value}" for key, value in record.items() if key not in _KNOWN)
    trace = f"\n{record['traceback']}" if "traceback" in record else ""
    return f"{text}{'  ' if details else ''}{details}{trace}"
