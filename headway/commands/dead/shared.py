"""What the commands on dead letters share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import orjson

from headway.bus.client.dead import DeadLetter

F = TypeVar("F", bound=Callable[..., Any])


def filters(function: F) -> F:
    """Add --service and --tenant to a command."""
    function = click.option("--tenant", help="Only this tenant's.")(function)
    return click.option("--service", help="Only this service's.")(function)


def plain(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON types; a payload that is JSON stays JSON."""
    try:
        payload = orjson.loads(letter.payload) if letter.payload else None
    except orjson.JSONDecodeError:
        payload = letter.payload.decode(errors="replace")
    return {
        "seq": letter.seq,
        "service": letter.service,
        "tenant": letter.tenant,
        "operation": letter.operation,
        "cause": letter.cause,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "traceback": letter.traceback,
        "subject": letter.subject,
        "stream": letter.stream,
        "stream_seq": letter.stream_seq,
        "at": letter.at.isoformat(),
        "blob": letter.blob,
        "cut": letter.cut,
        "headers": dict(letter.headers),
        "payload": payload,
    }
