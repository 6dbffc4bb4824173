"""Names of the message headers, and functions that read and write their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

TIMEOUT: Final = "Headway-Timeout"
"""How long the caller waits from the moment of sending, in whole milliseconds. A duration, like gRPC's `grpc-timeout`:
the receiver measures it with its own monotonic clock, so clocks need not agree."""

MESSAGE_ID: Final = "Nats-Msg-Id"
ID: Final = "Headway-Id"
"""The original id of a job that was moved to another version or lane, where it needs a new message id."""
EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
BASE_REVISIONS: Final = "Headway-Base-Revisions"
"""The revisions of objects that a page's change is based on: `type.id=revision`, joined by commas."""
PROOF: Final = "Headway-Proof"
"""Proves that Headway itself set `Headway-Id` and `Headway-Only` (`headway.bus.client.ids`)."""
USER: Final = "Headway-User"
"""Proof of the person that the message is from (bus/wire/proof.py)."""
AT: Final = "Headway-At"
"""When a job for later is due, in unix milliseconds."""
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

SERVICE_ERROR: Final = "Nats-Service-Error"
SERVICE_ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR: Final = "Headway-Error"
"""The `code` of the error class, so that the caller raises the same class."""
ERROR_ID: Final = "Headway-Error-Id"
"""Identifies the worker's log entry of an error whose details are not sent."""

RETRY_AFTER: Final = "Headway-Retry-After"
"""Whole milliseconds after which the caller of an overloaded worker may try again."""

ONLY: Final = "Headway-Only"
"""The only service that is to handle this event; set when an event is replayed from a dead letter."""

DEAD_CAUSE: Final = "Headway-Dead-Cause"
DEAD_REASON: Final = "Headway-Dead-Reason"
DEAD_ATTEMPTS: Final = "Headway-Dead-Attempts"
DEAD_TRACEBACK: Final = "Headway-Dead-Traceback"
DEAD_SUBJECT: Final = "Headway-Dead-Subject"
DEAD_STREAM: Final = "Headway-Dead-Stream"
DEAD_SEQUENCE: Final = "Headway-Dead-Sequence"
DEAD_BLOB: Final = "Headway-Dead-Blob"
DEAD_DIGEST: Final = "Headway-Dead-Digest"
"""SHA-256 of the payload in that blob."""
DEAD_CUT: Final = "Headway-Dead-Cut"
"""Bytes of the original payload, where there was no room for it: the letter has its beginning only."""
DEAD_AT: Final = "Headway-Dead-At"
DEAD_HEADERS: Final = "Headway-Dead-Headers"
"""The original headers that cannot be sent as headers, such as those with an invalid name, as JSON."""
DEAD_HEADERS_BLOB: Final = "Headway-Dead-Headers-Blob"
"""The blob that holds all original headers, if they are too large to be sent."""
DEAD_HEADERS_DIGEST: Final = "Headway-Dead-Headers-Digest"
"""SHA-256 of the headers in that blob."""
DEAD_PREFIX: Final = "Headway-Dead-"

MAX_SIZE: Final = 65_000
"""Maximum bytes of headers of a stored message; JetStream refuses 65,536 and more."""

_RESERVED: Final = ("nats-", "headway-")
_PASSED_ON: Final = frozenset({TIMEOUT, BASE_REVISIONS, ID, PROOF, USER})
_MAX_VALUE = 1024
_AT_DIGITS = 15  # below 2^53; the year 33658
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token of RFC 9110, the names that NATS clients send


def timeout_value(seconds: float) -> str:
    """Return the header value of a time limit in seconds."""
    return str(max(0, int(seconds * 1000)))


def timeout_of(headers: Mapping[str, str] | None) -> float | None:
    """Return a message's time limit in seconds; None if it has none or it is not a number."""
    return None if headers is None else seconds_of(headers.get(TIMEOUT))


def seconds_of(value: str | None) -> float | None:
    """Return a header's whole milliseconds in seconds; None if it is not such a number."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 15:
        return None
    return int(value) / 1000


def at_of(headers: Mapping[str, str] | None) -> int | None:
    """Return when a job for later is due in unix milliseconds; None if its header is missing or no number."""
    value = (headers or {}).get(AT, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _AT_DIGITS else None


def sendable(fields: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split received headers into those that can be sent again and those that cannot.

    Servers forward headers that clients refuse to send: names with spaces or brackets, values that are not UTF-8.
    """
    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for name, value in fields.items():
        (good if _NAME.fullmatch(name) and _is_utf8(value) else bad)[name] = value
    return good, bad


def passed_on(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a received message that may be sent with it again.

    Those of NATS and of Headway are left out: with the rights of the process that sends them again, some would do what
    their publisher may not. Kept are those that publishers may set, and those that are believed only with a proof.
    """
    return {k: v for k, v in fields.items() if k in _PASSED_ON or not k.lower().startswith(_RESERVED)}


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """Return the text made safe as a header value: one line of printable characters, at most 1 KiB."""
    line = " ".join(str(text).split())
    return "".join(char for char in line if char.isprintable())[:_MAX_VALUE]


def encode(fields: Mapping[str, str]) -> bytes:
    """Return headers as they are on the wire; their names and values must be `sendable`.

    A line break in a value becomes a space, as it would begin another header.
    """
    lines = "".join(f"{name}: {' '.join(value.splitlines())}\r\n" for name, value in fields.items())
    return b"NATS/1.0\r\n%b\r\n" % lines.encode()


def size(message_headers: Mapping[str, str]) -> int:
    """Return the bytes that headers take on the wire: `NATS/1.0`, a line each, and a blank line."""
    return 12 + sum(len(key) + len(value.encode()) + 4 for key, value in message_headers.items())
