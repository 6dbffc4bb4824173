"""Error replies: convert errors to headers (NATS micro, ADR-32) and headers back to errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headway.bus.errors import (
    CallError,
    DeadlineExceeded,
    HeadwayError,
    InvalidInput,
    NotServed,
    Overloaded,
    Rejected,
    RemoteError,
    Unavailable,
)
from headway.bus.wire import headers

_KINDS: Final[dict[str, type[CallError]]] = {
    kind.code: kind
    for kind in (CallError, NotServed, InvalidInput, Rejected, Overloaded, Unavailable, DeadlineExceeded, RemoteError)
}


def error_headers(error: HeadwayError, *, remedy: bool = False) -> dict[str, str]:
    """Return the headers of an error reply.

    Args:
        error: the error.
        remedy: whether to include the remedy in the message.
    """
    fields = {
        headers.SERVICE_ERROR: headers.clean(str(error) if remedy else error.message),
        headers.SERVICE_ERROR_CODE: str(error.status),
        headers.ERROR: error.code,
    }
    if isinstance(error, RemoteError) and error.error_id:
        fields[headers.ERROR_ID] = error.error_id
    if isinstance(error, Overloaded):
        fields[headers.RETRY_AFTER] = headers.timeout_value(error.retry_after)
    return fields


def raise_remote(subject: str, found: Mapping[str, str] | None) -> None:
    """Raise the error in a reply's headers; return if there is none.

    Args:
        subject: the called subject, for the message.
        found: the reply's headers.

    Raises:
        CallError: the class that `Headway-Error` names; without that header, the class with the reply's status.
    """
    if not found or headers.SERVICE_ERROR not in found:
        return
    code, status = found.get(headers.ERROR, ""), found.get(headers.SERVICE_ERROR_CODE, "")
    kind = _KINDS.get(code) or next((k for k in _KINDS.values() if str(k.status) == status), RemoteError)
    message = f"{subject}: {found[headers.SERVICE_ERROR]}"
    error_id = found.get(headers.ERROR_ID, "")
    raised = kind(f"{message}, error id {error_id}" if error_id else message)
    if isinstance(raised, RemoteError):
        raised.error_id = error_id
    if isinstance(raised, Overloaded):
        raised.retry_after = headers.seconds_of(found.get(headers.RETRY_AFTER)) or Overloaded.retry_after
    raise raised
