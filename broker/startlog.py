"""Errors in the log of a nats-server that was started. Pure."""

from __future__ import annotations

import re
from typing import Final

from headway.broker.errors import BrokerError, NotReady, PortInUse, ServerDied, StoreCorrupt

_LINE = re.compile(r"^\[\d+\] \S+ \S+ \[(?P<level>[A-Z]{3})\] +(?P<text>.*)$")
_IN_USE = re.compile(r"listen tcp (?P<address>\S+): bind: address already in use")
_DENIED = re.compile(r"listen tcp (?P<address>\S+): bind: (?P<why>permission denied|cannot assign requested address)")
# A stream whose metadata is damaged is skipped with only a warning: the server would run without its messages. A
# "Filestore" line is harmless: the usual repair of block indexes after a crash.
_LEFT_OUT = re.compile(
    r"metafile .*(?:checksum|error|invalid)|error (?:reading|unmarshal\w*|recreating|recovering|adding)\b.*"
    r"(?:stream|consumer|metafile)|storage directory|can't start jetstream",
    re.IGNORECASE,
)
_SERIOUS: Final = {"WRN", "ERR", "FTL"}


def corruption(log: str) -> str | None:
    """Return the first line about an unreadable part of the store; None without one."""
    for level, text in _lines(log):
        if level in _SERIOUS and not text.startswith("Filestore") and _LEFT_OUT.search(text):
            return text
    return None


def cause_of_death(log: str, store: str, status: int) -> BrokerError:
    """Return the error that the last lines of a dead server's log indicate.

    Args:
        log: what it wrote since it was started.
        store: its directory, for the message.
        status: its exit status; negative is the signal that killed it.
    """
    if found := _IN_USE.search(log):
        return PortInUse(f"{found['address']} is in use by another program")
    if found := _DENIED.search(log):
        return PortInUse(f"cannot listen on {found['address']}: {found['why']}", remedy="choose another port or host")
    if text := corruption(log):
        return StoreCorrupt(f"nats-server cannot use its store in {store}: {text}")
    return ServerDied(f"nats-server ended with status {status}: {last_words(log)}")


def too_late(log: str, seconds: float) -> BrokerError:
    """Return the error for a server that runs but is not ready."""
    return NotReady(f"nats-server was not ready within {seconds:g} s: {last_words(log)}")


def last_words(log: str) -> str:
    """Return its last serious line, or else its last line."""
    lines = _lines(log)
    serious = [text for level, text in lines if level in {"ERR", "FTL"}]
    plain = [line.strip() for line in log.splitlines() if line.strip()]
    return (serious or plain or ["it wrote nothing"])[-1]


def _lines(log: str) -> list[tuple[str, str]]:
    return [(found["level"], found["text"]) for line in log.splitlines() if (found := _LINE.match(line))]
