"""Names of the message headers, and the time limit that travels in one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

TIMEOUT: Final = "Headway-Timeout"
"""How long the caller waits from the moment of sending, in whole milliseconds. A duration, as gRPC's `grpc-timeout`
is: the receiver measures it with its own monotonic clock, so no two clocks have to agree."""

MESSAGE_ID: Final = "Nats-Msg-Id"
ID: Final = "Headway-Id"
"""The id a job was known by before it was moved to another version's queue, where it needs another message id."""
EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
BASE_REVISIONS: Final = "Headway-Base-Revisions"
"""The revisions of objects that a page's change is based on: `type.id=revision`, joined by commas."""
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

SERVICE_ERROR: Final = "Nats-Service-Error"
SERVICE_ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR: Final = "Headway-Error"
"""The `code` of the error class, so that the caller raises the same one."""
ERROR_ID: Final = "Headway-Error-Id"
"""Finds the worker's log line of an error whose details are not sent."""

ONLY: Final = "Headway-Only"
"""An event replayed from a dead letter is for this service alone."""

DEAD_CAUSE: Final = "Headway-Dead-Cause"
DEAD_REASON: Final = "Headway-Dead-Reason"
DEAD_ATTEMPTS: Final = "Headway-Dead-Attempts"
DEAD_TRACEBACK: Final = "Headway-Dead-Traceback"
DEAD_SUBJECT: Final = "Headway-Dead-Subject"
DEAD_STREAM: Final = "Headway-Dead-Stream"
DEAD_SEQUENCE: Final = "Headway-Dead-Sequence"
DEAD_BLOB: Final = "Headway-Dead-Blob"
DEAD_AT: Final = "Headway-Dead-At"
DEAD_HEADERS: Final = "Headway-Dead-Headers"
"""The original headers that cannot be sent as headers, such as one whose name is no token; JSON."""
DEAD_HEADERS_BLOB: Final = "Headway-Dead-Headers-Blob"
"""The blob that holds all original headers, where they are too large to be kept."""
DEAD_PREFIX: Final = "Headway-Dead-"

MAX_SIZE: Final = 65_000
"""Bytes of headers that are sent with a stored message; JetStream refuses 65,536 and more."""

_MAX_VALUE = 1024
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token of RFC 9110: what clients of NATS send


def timeout_value(seconds: float) -> str:
    """Return the header value of a time limit in seconds."""
    return str(max(0, int(seconds * 1000)))


def timeout_of(headers: Mapping[str, str] | None) -> float | None:
    """Return the time limit that a message carries, in seconds; None without one, or if it is not a number."""
    if headers is None:
        return None
    value = headers.get(TIMEOUT)
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 15:
        return None
    return int(value) / 1000


def sendable(fields: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Part headers that arrived into those that can be sent on and those that cannot.

    Servers pass on what clients refuse to send: names with spaces or brackets, values that are no UTF-8.
    """
    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for name, value in fields.items():
        (good if _NAME.fullmatch(name) and _is_utf8(value) else bad)[name] = value
    return good, bad


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """Text that is safe as a header value: one line of printable characters, at most 1 KiB."""
    line = " ".join(str(text).split())
    return "".join(char for char in line if char.isprintable())[:_MAX_VALUE]


def size(message_headers: Mapping[str, str]) -> int:
    """How many bytes headers take on the wire: `NATS/1.0`, a line each, and a blank line."""
    return 12 + sum(len(key) + len(value.encode()) + 4 for key, value in message_headers.items())
