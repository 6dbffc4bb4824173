"""The subject grammar: the one place that builds and takes apart subjects.

    rpc.<service>.<tenant>.<operation>             -> rpc.<service>.<version>.<tenant>.<operation>
    job.<service>.<tenant>.<operation>             -> job.<service>.<version>.<lane>.<tenant>.<operation>
    event.<tenant>.<type>                          type may have several tokens: call.ended
    obj.<tenant>.<type>.<id>                       -> live.<tenant>.<type>.<id>
    dead.<service>.<tenant>.<operation>
    beat.<service>.<version>.<worker>
    sync.<tenant>.pull                             changes since
    sync.<tenant>.submit.<service>.<operation>     a page's job, which client sync submits

The left form is what publishers use; nats-server maps it to the right one (broker/routes.py). Everything
is checked before it reaches the wire: a token that carried a '.' or '*' would silently address somebody else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from headway.bus.errors import InvalidSubject

LANES: Final = 16
"""How many lanes a version's jobs are spread over, by the server's hash of the tenant."""

CONSOLE: Final = "headway"
"""The tenant whose objects are what the operator's console shows. No application's tenant may be called so."""

_TOKEN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ID_REMEDY = "use letters, digits, '-' and '_', at most 63 characters, starting with a letter or digit"

# A hot path checks the same few names over and over; the set is bounded because tenants come from outside.
_known: set[str] = set()
_KNOWN_MAX = 4096


def token(value: str, what: str) -> str:
    """Check one token of the grammar `[a-z0-9][a-z0-9-]{0,62}` and return it.

    Args:
        value: the token.
        what: what it names ("tenant", "service"), for the error.

    Raises:
        InvalidSubject: if it is anything else.
    """
    if value in _known:
        return value
    if _TOKEN.fullmatch(value) is None:
        raise InvalidSubject(f"{value!r} is not a valid {what}")
    if len(_known) < _KNOWN_MAX:
        _known.add(value)
    return value


def application_tenant(value: str) -> str:
    """Check the name of an application's tenant and return it.

    Raises:
        InvalidSubject: if it breaks the grammar, or is reserved.
    """
    if value == CONSOLE:
        told = "no application's tenant can have it"
        raise InvalidSubject(f"tenant {value!r} is the operator's console", remedy=f"choose another name: {told}")
    return token(value, "tenant")


def identifier(value: str, what: str = "id") -> str:
    """Check an object id or key: a token that may also have upper case and '_'.

    Raises:
        InvalidSubject: if it is anything else.
    """
    if _ID.fullmatch(value) is None:
        raise InvalidSubject(f"{value!r} is not a valid {what}", remedy=_ID_REMEDY)
    return value


def event_type(value: str) -> str:
    """Check an event type: one or more tokens joined by '.', such as `call.ended`.

    Raises:
        InvalidSubject: if it is anything else.
    """
    if value in _known:
        return value
    if len(value) > 255:
        raise InvalidSubject(f"{value!r} is not a valid event type")
    for part in value.split("."):
        token(part, "event type")
    return value


def rpc(service: str, tenant: str, operation: str) -> str:
    """The subject a caller sends a request to."""
    return f"rpc.{token(service, 'service')}.{application_tenant(tenant)}.{token(operation, 'operation')}"


def rpc_endpoint(service: str, version: str, operation: str) -> str:
    """What the workers of one version subscribe to, for all tenants."""
    return f"rpc.{token(service, 'service')}.{token(version, 'version')}.*.{token(operation, 'operation')}"


def queue_group(service: str, version: str) -> str:
    """The queue group of one version's workers."""
    return f"{token(service, 'service')}-{token(version, 'version')}"


def job(service: str, tenant: str, operation: str) -> str:
    """The subject a publisher submits a job to."""
    return f"job.{token(service, 'service')}.{application_tenant(tenant)}.{token(operation, 'operation')}"


def job_lane(service: str, version: str, lane: int) -> str:
    """The filter of one version's consumer on one lane."""
    return f"job.{token(service, 'service')}.{token(version, 'version')}.{_lane(lane)}.>"


def job_stream_subject(service: str) -> str:
    """What stream `JOBS_<service>` captures: mapped jobs only, so that an unrouted one has no responders."""
    return f"job.{token(service, 'service')}.*.*.*.*"


def event(tenant: str, type_: str) -> str:
    """The subject of an event."""
    return f"event.{application_tenant(tenant)}.{event_type(type_)}"


def event_filter(type_: str) -> str:
    """The filter of a subscriber to one event type, for all tenants."""
    return f"event.*.{event_type(type_)}"


def obj(tenant: str, type_: str, id_: str) -> str:
    """The subject of an object's changes."""
    return f"obj.{token(tenant, 'tenant')}.{token(type_, 'object type')}.{identifier(id_)}"


def obj_filter(tenant: str, type_: str) -> str:
    """All objects of one type of one tenant."""
    return f"obj.{token(tenant, 'tenant')}.{token(type_, 'object type')}.*"


def obj_all(tenant: str) -> str:
    """All objects of one tenant."""
    return f"obj.{token(tenant, 'tenant')}.*.*"


def live_head(tenant: str) -> str:
    """Where a tenant's head beacons go."""
    return f"live.{token(tenant, 'tenant')}.head"


def live_presence(tenant: str) -> str:
    """Where it is told which users of a tenant are online."""
    return f"live.{token(tenant, 'tenant')}.presence"


def is_inbox(reply: str) -> bool:
    """Whether a reply subject is one. Who may publish more than who asked must not answer to anything else: the asker
    could have it write to a subject that is closed to the asker.
    """
    return reply.startswith("_INBOX.")


def dead(service: str, tenant: str, operation: str) -> str:
    """The subject of a dead letter. Events use `on-<type with '-' for '.'>` as operation."""
    return f"dead.{token(service, 'service')}.{token(tenant, 'tenant')}.{token(operation, 'operation')}"


def dead_filter(service: str | None = None, tenant: str | None = None) -> str:
    """The dead letters of a service and a tenant; None means all of them."""
    service = "*" if service is None else token(service, "service")
    tenant = "*" if tenant is None else token(tenant, "tenant")
    return f"dead.{service}.{tenant}.*"


def beat(service: str, version: str, worker: str) -> str:
    """The subject of a worker's heartbeats."""
    return f"beat.{token(service, 'service')}.{token(version, 'version')}.{identifier(worker, 'worker')}"


class RpcSubject(NamedTuple):
    """The parts of a mapped request."""

    service: str
    version: str
    tenant: str
    operation: str


class JobSubject(NamedTuple):
    """The parts of a mapped job."""

    service: str
    version: str
    lane: int
    tenant: str
    operation: str


class ObjectSubject(NamedTuple):
    """The parts of an object's subject."""

    tenant: str
    type: str
    id: str


class EventSubject(NamedTuple):
    """The parts of an event."""

    tenant: str
    type: str


def parse_rpc(subject: str) -> RpcSubject:
    """Take a mapped request subject apart.

    Raises:
        InvalidSubject: if it is not one.
    """
    parts = subject.split(".")
    if len(parts) != 5 or parts[0] != "rpc":
        raise InvalidSubject(f"{subject!r} is not rpc.<service>.<version>.<tenant>.<operation>")
    return RpcSubject(
        token(parts[1], "service"), token(parts[2], "version"), token(parts[3], "tenant"), token(parts[4], "operation")
    )


def parse_job(subject: str) -> JobSubject:
    """Take a mapped job subject apart.

    Raises:
        InvalidSubject: if it is not one.
    """
    parts = subject.split(".")
    if len(parts) != 6 or parts[0] != "job" or not parts[3].isascii() or not parts[3].isdigit():
        raise InvalidSubject(f"{subject!r} is not job.<service>.<version>.<lane>.<tenant>.<operation>")
    return JobSubject(
        token(parts[1], "service"),
        token(parts[2], "version"),
        _lane(int(parts[3])),
        token(parts[4], "tenant"),
        token(parts[5], "operation"),
    )


def parse_obj(subject: str) -> ObjectSubject:
    """Take an object's subject apart.

    Raises:
        InvalidSubject: if it is not one.
    """
    parts = subject.split(".")
    if len(parts) != 4 or parts[0] != "obj":
        raise InvalidSubject(f"{subject!r} is not obj.<tenant>.<type>.<id>")
    return ObjectSubject(token(parts[1], "tenant"), token(parts[2], "object type"), identifier(parts[3]))


def parse_event(subject: str) -> EventSubject:
    """Take an event subject apart.

    Raises:
        InvalidSubject: if it is not one.
    """
    parts = subject.split(".", 2)
    if len(parts) != 3 or parts[0] != "event":
        raise InvalidSubject(f"{subject!r} is not event.<tenant>.<type>")
    return EventSubject(token(parts[1], "tenant"), event_type(parts[2]))


def _lane(lane: int) -> int:
    if not 0 <= lane < LANES:
        raise InvalidSubject(f"lane {lane} is out of range", remedy=f"lanes are 0 to {LANES - 1}")
    return lane
