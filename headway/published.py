"""The schemas that workers publish, for checking a payload before it is stored and explaining a failed call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from headway.bus.client.bus import Bus
from headway.bus.errors import InvalidInput, NotServed
from headway.bus.wire import subjects
from headway.schemas import problems, suggestion

_FIRST: Final = 0.5
"""Seconds to wait for the workers' answers."""
_MORE: Final = 0.05
"""Seconds without a further answer after which all workers are assumed to have answered."""
_NO_CHECK: Final = "correct it, or store it with --no-check for a version that is deployed later"

Schemas = Mapping[str, Mapping[str, Any]]
"""The schemas of one version: `{"job.send": {"input": ..., "output": ...}}`, as in `headway.bus.schemas`."""


@dataclass(frozen=True, slots=True)
class Published:
    """The answer of one worker.

    Attributes:
        service: its service.
        version: its version.
        schemas: the inputs and outputs of that version.
        description: what it does, in one sentence; empty if it does not say.
    """

    service: str
    version: str
    schemas: Schemas
    description: str = ""

    def names(self, kind: str) -> list[str]:
        """Return the names of the handlers of a kind: rpc, job, on."""
        return [name.partition(".")[2] for name in self.schemas if name.partition(".")[0] == kind]


async def ask(bus: Bus, service: str | None = None) -> list[Published]:
    """Ask the workers for their schemas. The list is empty without permission, or without workers.

    Args:
        bus: the connection.
        service: name of the service; None asks all.
    """
    found: dict[tuple[str, str], Published] = {}
    inbox = bus.nc.new_inbox()
    answers = await bus.nc.subscribe(inbox)
    try:
        subject = "$SRV.SCHEMA" if service is None else f"$SRV.SCHEMA.{subjects.token(service, 'service')}"
        await bus.nc.publish(subject, reply=inbox)
        wait = _FIRST
        while True:
            message = await answers.next_msg(wait)
            if not message.data:  # no responders
                break
            one = _read(message.data)
            if one is not None:
                found[one.service, one.version] = one
            wait = _MORE
    except TimeoutError:
        pass
    finally:
        await answers.unsubscribe()
    return list(found.values())


async def check_job(bus: Bus, service: str, operation: str, request: Any) -> bool:
    """Refuse a job that no running version accepts.

    Returns:
        whether it was checked, which needs a running worker.

    Raises:
        NotServed: if no version has this job.
        InvalidInput: if no version accepts this request.
    """
    serving = await ask(bus, service)
    if serving:
        _check(serving, "job", operation, request, what=f"{service} has no job {operation!r}")
    return bool(serving)


async def check_event(bus: Bus, event_type: str, event: Any) -> bool:
    """Refuse an event that its subscribers do not accept, or whose type looks misspelt.

    Returns:
        whether a running worker subscribes to it.

    Raises:
        NotServed: if no service subscribes to the type, but one subscribes to a similar name.
        InvalidInput: if no subscriber accepts this event.
    """
    everybody = await ask(bus)
    takers = [one for one in everybody if event_type in one.names("on")]
    if takers:
        _check(takers, "on", event_type, event, what="")
        return True
    near = suggestion(event_type, {name for one in everybody for name in one.names("on")})
    if near:
        raise NotServed(f"no service subscribes to {event_type!r}{near}", remedy=_NO_CHECK)
    return False


async def explain(bus: Bus, error: NotServed, service: str, operation: str, kind: str) -> NotServed:
    """Return the error, suggesting the most similar name that exists."""
    serving = await ask(bus, service)
    if serving:
        names = {name for one in serving for name in one.names(kind)}
        other = "job" if kind == "rpc" else "rpc"
        if operation in {name for one in serving for name in one.names(other)}:
            verb = "submit" if other == "job" else "call"
            return NotServed(error.message, remedy=f"it is a {other}: headway {verb} {service} {operation} ...")
        near = suggestion(operation, names)
    else:
        near = suggestion(service, {one.service for one in await ask(bus)})
    return NotServed(f"{error.message}{near}", remedy=error.remedy)


async def explain_input(bus: Bus, error: InvalidInput, service: str, operation: str, request: Any) -> InvalidInput:
    """Return the error, suggesting the field that was probably meant."""
    for one in await ask(bus, service):
        schema = one.schemas.get(f"rpc.{operation}")
        found = problems(schema["input"], request) if schema else []
        meant = next((text for text in found if text.endswith("?")), None)
        if meant is not None:
            return InvalidInput(error.message, remedy=meant)
    return error


def _check(serving: list[Published], kind: str, name: str, payload: Any, *, what: str) -> None:
    """Refuse a payload that some version refuses with all its workers: any of them may receive it."""
    have = [one for one in serving if name in one.names(kind)]
    if not have:
        calls = {name for one in serving for name in one.names("rpc")}
        if name in calls:
            raise NotServed(what, remedy=f"it is answered at once: headway call {serving[0].service} {name} ...")
        raise NotServed(
            what + suggestion(name, {known for one in serving for known in one.names(kind)}), remedy=_NO_CHECK
        )
    found = [problems(one.schemas[f"{kind}.{name}"]["input"], payload) for one in have]
    if all(found):
        first = min(found, key=len)
        raise InvalidInput(f"{have[0].service} does not take this as {name}: {'; '.join(first)}", remedy=_NO_CHECK)


def _read(data: bytes) -> Published | None:
    try:
        answer = orjson.loads(data)
        name, version = answer["name"], answer["metadata"]["headway.version"]
        return Published(name, version, answer["schemas"], answer.get("description", ""))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
