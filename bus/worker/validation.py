"""Validates a payload with a version's own code, without running a handler.

Before a version gets traffic, the deployer has it read what is queued, and the version before read what it would write.
The request goes to `$SRV.VALIDATE.<service>.<worker>`, where only the control and operator roles may publish.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from headway.bus.client.dead import operation_of_event
from headway.bus.errors import HeadwayError, text_of
from headway.bus.handlers import Handler, Kind
from headway.bus.service import Service

VERB: Final = "VALIDATE"
CAN: Final = "headway.validates"
"""Metadata of a worker that answers such requests."""
OPERATION: Final = "Headway-Validate"
"""Header of the request: the operation, as in the subject of a dead letter."""
PROBLEM: Final = "Headway-Problem"
"""Header of the answer: why the payload is refused; absent if it is accepted."""


class Validated(NamedTuple):
    """What a version makes of a payload.

    Attributes:
        problem: why it is refused, naming the field; empty if it is accepted.
        written: the payload as the version would write it.
    """

    problem: str
    written: bytes


def validate(service: Service, operation: str, payload: bytes) -> Validated:
    """Read a payload as the handler would, and write it again.

    Args:
        service: the service.
        operation: of a job, or of an event as in the subject of a dead letter.
        payload: the payload.
    """
    handler = _handler(service, operation)
    if handler is None:
        return Validated(f"there is no handler for {operation}", b"")
    try:
        return Validated("", handler.input.encode(handler.input.decode(payload)))
    except HeadwayError as error:
        return Validated(error.message, b"")
    except Exception as error:  # a validator of the service can raise anything
        return Validated(f"{type(error).__name__}: {text_of(error)}", b"")


def _handler(service: Service, operation: str) -> Handler | None:
    jobs = service.handlers_of(Kind.JOB)
    if operation in jobs:
        return jobs[operation]
    events = service.handlers_of(Kind.EVENT).values()
    return next((one for one in events if operation_of_event(one.name) == operation), None)
