"""Formats the output of workers and control processes as terminal lines."""

from __future__ import annotations

import orjson

from headway.output import echo

_KNOWN = frozenset({"at", "logger", "service", "version", "worker", "traceback"})
"""Fields that a line omits: they are in its label, or useless in a terminal."""


def say(label: str, line: str) -> None:
    """Print a line of a process on standard error; a JSON log line becomes text."""
    echo(f"{label:<14} {readable(line)}", err=True)


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
