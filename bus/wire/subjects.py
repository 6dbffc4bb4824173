"""The subject grammar: the only module that builds and parses subjects.

    rpc.<service>.<tenant>.<operation>             -> rpc.<service>.<version>.<tenant>.<operation>
    rpc.<service>.<version>.<tenant>.<operation>   -> direct.<service>.<version>.<tenant>.<operation>
    job.<service>.<tenant>.<operation>             -> job.<service>.<version>.<lane>.<tenant>.<operation>
    event.<tenant>.<type>                          type may have several tokens: call.ended
    obj.<tenant>.<type>.<id>                       -> live.<tenant>.<type>.<id>
    dead.<service>.<tenant>.<operation>
    later.<service>.<tenant>.<operation>           a job for later; the scheduler submits it when it is due
    beat.<service>.<version>.<worker>
    queues.<service>.<version>                     a worker's request to control for its queues
    sync.<tenant>.pull                             a page's request for changes
    sync.<tenant>.submit.<service>.<operation>     a page's job, which client sync submits

Publishers use the left form; nats-server maps it to the right one (broker/routes.py). Every token is checked before
it reaches the wire: one with a '.' or '*' would silently address another tenant or service.

Each form has a builder, and a parser that returns a NamedTuple. A parser refuses subjects its builder cannot make.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from typing import Final, NamedTuple

from headway.bus.errors import InvalidSubject

LANES: Final = 16
"""Number of lanes of a version's jobs."""
COMMON: Final = 8
"""Number of common lanes, the first ones. The server picks one of them by a hash of the tenant; workers move the jobs
of sidelined tenants to the other lanes (bus/worker/sideline.py)."""

CONSOLE: Final = "headway"
"""The reserved tenant, which holds the objects of the operator's console, and whose jobs are the periodic ones."""

_TOKEN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ID_REMEDY = "use letters, digits, '-' and '_', at most 63 characters, starting with a letter or digit"

_KEY_MAX = 255
_REVISION_DIGITS = 15  # below 2^53

# A cache: the hot path checks the same few names repeatedly. It is bounded because tenant names come from outside.
_known: set[str] = set()
_KNOWN_MAX = 4096


def token(value: str, what: str) -> str:
    """Check one token of the grammar `[a-z0-9][a-z0-9-]{0,62}` and return it.

    Args:
        value: the token.
        what: the kind of name ("tenant", "service"), for the error.

    Raises:
        InvalidSubject: if it breaks the grammar.
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
        told = "this one is not for applications"
        raise InvalidSubject(f"tenant {value!r} is reserved for the console", remedy=f"choose another name: {told}")
    return token(value, "tenant")


def identifier(value: str, what: str = "id") -> str:
    """Check an object id or key: a token that may also contain upper-case letters and '_'.

    Raises:
        InvalidSubject: if it breaks the grammar.
    """
    if _ID.fullmatch(value) is None:
        raise InvalidSubject(f"{value!r} is not a valid {what}", remedy=_ID_REMEDY)
    return value


def fit(text: str, otherwise: str = "invalid") -> str:
    """Return a valid token that resembles a text.

    Args:
        text: any text, such as an invalid name that was received.
        otherwise: the token to use if no character of the text is valid.
    """
    if _TOKEN.fullmatch(text):
        return text
    return re.sub(r"[^a-z0-9-]", "-", text.lower()).lstrip("-")[:63] or otherwise


def key_token(key: str) -> str:
    """Return an idempotency key encoded for use in a message id, without '.'.

    Letters, digits, '-' and '_' stay. Other characters are percent-encoded; if the result is too long, it is hashed.

    Args:
        key: any text of 1 to 255 characters.

    Raises:
        InvalidSubject: if it is empty or too long.
    """
    if not 1 <= len(key) <= _KEY_MAX:
        what = f"a key of {len(key)} characters" if key else "an empty key"
        raise InvalidSubject(f"{what} is not valid", remedy=f"use a text of 1 to {_KEY_MAX} characters")
    if _ID.fullmatch(key):
        return key
    quoted = urllib.parse.quote(key, safe="", errors="surrogatepass").replace(".", "%2E")
    if len(quoted) <= _KEY_MAX:
        return quoted
    return f"={hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()}"  # quoted text contains no '='


def base_revisions(header: str) -> dict[tuple[str, str], int]:
    """Read the header `Headway-Base-Revisions`: `type.id=revision`, joined by commas.

    Returns:
        Revisions by type and id.

    Raises:
        InvalidSubject: if a part is malformed; names the part.
    """
    found: dict[tuple[str, str], int] = {}
    for part in filter(None, header.split(",")):
        name, _, revision = part.partition("=")
        type_, _, id_ = name.partition(".")
        if not (revision.isascii() and revision.isdigit() and len(revision) <= _REVISION_DIGITS):
            raise InvalidSubject(f"{part!r} has no valid revision", remedy="write type.id=revision")
        found[token(type_, "type"), identifier(id_)] = int(revision)
    return found


def event_type(value: str) -> str:
    """Check an event type: one or more tokens joined by '.', such as `call.ended`.

    Raises:
        InvalidSubject: if it breaks the grammar.
    """
    if value in _known:
        return value
    if len(value) > 255:
        raise InvalidSubject(f"{value!r} is not a valid event type")
    for part in value.split("."):
        token(part, "event type")
    return value


def rpc(service: str, tenant: str, operation: str) -> str:
    """Return the subject that a caller sends a request to."""
    return f"rpc.{token(service, 'service')}.{application_tenant(tenant)}.{token(operation, 'operation')}"


def rpc_endpoint(service: str, version: str, operation: str) -> str:
    """Return the subject that the workers of one version subscribe to, for all tenants."""
    return f"rpc.{token(service, 'service')}.{token(version, 'version')}.*.{token(operation, 'operation')}"


def direct_endpoint(service: str, version: str, operation: str) -> str:
    """Return the subject on which calls that name a version reach its workers."""
    return rpc_endpoint(service, version, operation).replace("rpc", "direct", 1)


def queue_group(service: str, version: str) -> str:
    """Return the queue group of one version's workers."""
    return f"{token(service, 'service')}-{token(version, 'version')}"


def job(service: str, tenant: str, operation: str) -> str:
    """Return the subject that a publisher submits a job to."""
    return f"job.{token(service, 'service')}.{application_tenant(tenant)}.{token(operation, 'operation')}"


def periodic(service: str, operation: str) -> str:
    """Return the subject of a run of a periodic job: that of a job of Headway's own tenant."""
    return f"job.{token(service, 'service')}.{CONSOLE}.{token(operation, 'operation')}"


def job_lane(service: str, version: str, lane: int) -> str:
    """Return the filter of one version's consumer on one lane."""
    return f"job.{token(service, 'service')}.{token(version, 'version')}.{_lane(lane)}.>"


def job_stream_subject(service: str) -> str:
    """Return the subjects of stream `JOBS_<service>`: mapped jobs only, so that unrouted jobs have no responders."""
    return f"job.{token(service, 'service')}.*.*.*.*"


def event(tenant: str, type_: str) -> str:
    """Return the subject of an event."""
    return f"event.{application_tenant(tenant)}.{event_type(type_)}"


def event_filter(type_: str) -> str:
    """Return the filter of a subscriber to one event type, for all tenants."""
    return f"event.*.{event_type(type_)}"


def obj(tenant: str, type_: str, id_: str) -> str:
    """Return the subject of an object's changes."""
    return f"obj.{token(tenant, 'tenant')}.{token(type_, 'object type')}.{identifier(id_)}"


def obj_filter(tenant: str, type_: str) -> str:
    """Return the filter for all objects of one type of one tenant."""
    return f"obj.{token(tenant, 'tenant')}.{token(type_, 'object type')}.*"


def obj_all(tenant: str) -> str:
    """Return the filter for all objects of one tenant."""
    return f"obj.{token(tenant, 'tenant')}.*.*"


def live_head(tenant: str) -> str:
    """Return the subject of a tenant's head beacons."""
    return f"live.{token(tenant, 'tenant')}.head"


AUDIT_ALL: Final = "audit.*"
"""All entries of the audit log."""


def audit(source: str) -> str:
    """Return the subject of an entry of the audit log, by where the action came from."""
    return f"audit.{token(source, 'source')}"


def live_conflict(tenant: str) -> str:
    """Return the subject on which a tenant's pages learn of write conflicts."""
    return f"live.{token(tenant, 'tenant')}.conflict"


def live_presence(tenant: str) -> str:
    """Return the subject that announces which users of a tenant are online."""
    return f"live.{token(tenant, 'tenant')}.presence"


def live(tenant: str, type_: str, id_: str) -> str:
    """Return the subject to which the server republishes an object's changes."""
    return f"live.{token(tenant, 'tenant')}.{token(type_, 'object type')}.{identifier(id_)}"


def sync_pull(tenant: str) -> str:
    """Return the subject on which a tenant's pages request changes."""
    return f"sync.{token(tenant, 'tenant')}.pull"


def sync_submit(tenant: str, service: str, operation: str) -> str:
    """Return the subject to which a tenant's pages send a job, which client sync submits."""
    return f"sync.{token(tenant, 'tenant')}.submit.{token(service, 'service')}.{token(operation, 'operation')}"


def rpc_mapped(service: str, version: str, tenant: str, operation: str) -> str:
    """Return the mapped subject of a tenant's request to one version."""
    return rpc_endpoint(service, version, operation).replace("*", token(tenant, "tenant"))


def job_mapped(service: str, version: str, lane: int, tenant: str, operation: str) -> str:
    """Return the mapped subject of a job in its queue."""
    place = f"{token(service, 'service')}.{token(version, 'version')}.{_lane(lane)}"
    return f"job.{place}.{token(tenant, 'tenant')}.{token(operation, 'operation')}"


def is_inbox(reply: str) -> bool:
    """Return whether a reply subject is an inbox.

    A process with more permissions than the requester must answer only to inboxes: otherwise the requester could
    make it publish to a subject that the requester itself may not use.
    """
    return reply.startswith("_INBOX.")


def dead(service: str, tenant: str, operation: str) -> str:
    """Return the subject of a dead letter. Events use `on-<type with '-' for '.'>` as operation."""
    return f"dead.{token(service, 'service')}.{token(tenant, 'tenant')}.{token(operation, 'operation')}"


def dead_filter(service: str | None = None, tenant: str | None = None) -> str:
    """Return the filter for dead letters of a service and a tenant; None means all of them."""
    service = "*" if service is None else token(service, "service")
    tenant = "*" if tenant is None else token(tenant, "tenant")
    return f"dead.{service}.{tenant}.*"


def beat(service: str, version: str, worker: str) -> str:
    """Return the subject of a worker's heartbeats."""
    return f"beat.{token(service, 'service')}.{token(version, 'version')}.{identifier(worker, 'worker')}"


def queues(service: str, version: str) -> str:
    """Return the subject on which a version's workers ask control for their queues."""
    return f"queues.{token(service, 'service')}.{token(version, 'version')}"


def later(service: str, tenant: str, operation: str) -> str:
    """Return the subject of a job for later."""
    return f"later.{token(service, 'service')}.{application_tenant(tenant)}.{token(operation, 'operation')}"


def later_filter(service: str | None = None, tenant: str | None = None) -> str:
    """Return the filter for jobs for later of a service and a tenant; None means all of them."""
    service = "*" if service is None else token(service, "service")
    tenant = "*" if tenant is None else token(tenant, "tenant")
    return f"later.{service}.{tenant}.*"


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


class EventSubject(NamedTuple):
    """The parts of an event."""

    tenant: str
    type: str


class ObjectSubject(NamedTuple):
    """The parts of an object's subject, stored (`obj`) or republished (`live`)."""

    tenant: str
    type: str
    id: str


class DeadSubject(NamedTuple):
    """The parts of a dead letter's subject."""

    service: str
    tenant: str
    operation: str


class LaterSubject(NamedTuple):
    """The parts of the subject of a job for later."""

    service: str
    tenant: str
    operation: str


class BeatSubject(NamedTuple):
    """The parts of a heartbeat's subject."""

    service: str
    version: str
    worker: str


class QueuesSubject(NamedTuple):
    """The parts of a worker's request for its queues."""

    service: str
    version: str


class SyncSubject(NamedTuple):
    """The parts of a page's request; service and operation are empty for a pull."""

    tenant: str
    kind: str
    service: str = ""
    operation: str = ""


def parse_rpc(subject: str) -> RpcSubject:
    """Parse a mapped request subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, service, version, tenant, operation = _parts(subject, "rpc.<service>.<version>.<tenant>.<operation>")
    return RpcSubject(
        token(service, "service"), token(version, "version"), token(tenant, "tenant"), token(operation, "operation")
    )


def parse_job(subject: str) -> JobSubject:
    """Parse a mapped job subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    form = "job.<service>.<version>.<lane>.<tenant>.<operation>"
    _, service, version, number, tenant, operation = _parts(subject, form)
    found = lane_number(number)
    if found is None:
        raise InvalidSubject(f"{subject!r} is not {form}")
    return JobSubject(
        token(service, "service"),
        token(version, "version"),
        found,
        token(tenant, "tenant"),
        token(operation, "operation"),
    )


def parse_event(subject: str) -> EventSubject:
    """Parse an event subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, tenant, type_ = _parts(subject, "event.<tenant>.<type>", rest=True)
    return EventSubject(token(tenant, "tenant"), event_type(type_))


def parse_obj(subject: str) -> ObjectSubject:
    """Parse an object's subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, tenant, type_, id_ = _parts(subject, "obj.<tenant>.<type>.<id>")
    return ObjectSubject(token(tenant, "tenant"), token(type_, "object type"), identifier(id_))


def parse_live(subject: str) -> ObjectSubject:
    """Parse the subject of a republished change.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, tenant, type_, id_ = _parts(subject, "live.<tenant>.<type>.<id>")
    return ObjectSubject(token(tenant, "tenant"), token(type_, "object type"), identifier(id_))


def parse_dead(subject: str) -> DeadSubject:
    """Parse a dead letter's subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, service, tenant, operation = _parts(subject, "dead.<service>.<tenant>.<operation>")
    return DeadSubject(token(service, "service"), token(tenant, "tenant"), token(operation, "operation"))


def parse_later(subject: str) -> LaterSubject:
    """Parse the subject of a job for later.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, service, tenant, operation = _parts(subject, "later.<service>.<tenant>.<operation>")
    return LaterSubject(token(service, "service"), token(tenant, "tenant"), token(operation, "operation"))


def parse_beat(subject: str) -> BeatSubject:
    """Parse a heartbeat's subject.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, service, version, worker = _parts(subject, "beat.<service>.<version>.<worker>")
    return BeatSubject(token(service, "service"), token(version, "version"), identifier(worker, "worker"))


def parse_queues(subject: str) -> QueuesSubject:
    """Parse the subject of a worker's request for its queues.

    Raises:
        InvalidSubject: if it is not one.
    """
    _, service, version = _parts(subject, "queues.<service>.<version>")
    return QueuesSubject(token(service, "service"), token(version, "version"))


def parse_sync(subject: str) -> SyncSubject:
    """Parse the subject of a page's request.

    Raises:
        InvalidSubject: if it is not one.
    """
    if subject.endswith(".pull"):
        _, tenant, kind = _parts(subject, "sync.<tenant>.pull")
        return SyncSubject(token(tenant, "tenant"), kind)
    form = "sync.<tenant>.submit.<service>.<operation>"
    _, tenant, kind, service, operation = _parts(subject, form)
    if kind != "submit":
        raise InvalidSubject(f"{subject!r} is not {form}")
    return SyncSubject(token(tenant, "tenant"), kind, token(service, "service"), token(operation, "operation"))


def sync_kind(subject: str) -> str:
    """Return the kind of a page's request, `pull` or `submit`; `invalid` for any other subject."""
    kind = subject.split(".", 3)[2:3]
    return kind[0] if kind and kind[0] in {"pull", "submit"} else "invalid"


def job_addressee(subject: str) -> tuple[str, str]:
    """Return tenant and operation of a mapped job. Faster than `parse_job`; the operation is not checked.

    Raises:
        InvalidSubject: if it is not a job's subject, or the tenant breaks the grammar.
    """
    parts = subject.split(".")
    if len(parts) != 6:
        raise InvalidSubject(f"{subject!r} is not a mapped job")
    return token(parts[4], "tenant"), parts[5]


def job_version(subject: str) -> str | None:
    """Return the version whose queue holds a job, without checking its names; None for other subjects."""
    parts = subject.split(".")
    return parts[2] if len(parts) == 6 and parts[0] == "job" else None


def job_moved(subject: str, version: str) -> str:
    """Return the subject of a job in another version's queue, with lane, tenant and operation unchanged and unchecked.

    Raises:
        InvalidSubject: if it is not a job's subject.
    """
    parts = subject.split(".")
    if job_version(subject) is None:
        raise InvalidSubject(f"{subject!r} is not job.<service>.<version>.<lane>.<tenant>.<operation>")
    return ".".join([*parts[:2], token(version, "version"), *parts[3:]])


def job_sidelined(subject: str, lane: int) -> str:
    """Return the subject of a job in another lane of the same version; `subject` is a job's, unchecked."""
    service, version, _, rest = subject.split(".", 4)[1:]
    return f"job.{service}.{version}.{_lane(lane)}.{rest}"


def job_version_filter(service: str, version: str) -> str:
    """Return the filter for all jobs of one version."""
    return f"job.{token(service, 'service')}.{token(version, 'version')}.*.*.*"


def rpc_tenant(subject: str) -> str:
    """Return the tenant of a mapped request. Faster than `parse_rpc`.

    Raises:
        InvalidSubject: if it is not a request's subject, or the tenant breaks the grammar.
    """
    parts = subject.split(".")
    if len(parts) != 5:
        raise InvalidSubject(f"{subject!r} is not a mapped request")
    return token(parts[3], "tenant")


def service_of_route(source: str) -> str | None:
    """Return the service of a route's source, `rpc.<service>.*.*`; None if it is another kind of mapping."""
    parts = source.split(".")
    return parts[1] if len(parts) == 4 and parts[0] == "rpc" and parts[2:] == ["*", "*"] else None


def version_of_target(subject: str) -> str:
    """Return the version that the target of a route names: `rpc.<service>.<version>. ...`."""
    return subject.split(".", 3)[2]


def template(subject: str) -> str:
    """Return a publisher's subject with a placeholder for the tenant, to keep the number of metrics small."""
    parts = subject.split(".")
    at = 1 if parts[0] in {"event", "obj", "live", "sync"} else 2
    if len(parts) > at:
        parts[at] = "{tenant}"
    return ".".join(parts)


def lane_number(text: str) -> int | None:
    """Return the lane number in a token; None if it is not a valid lane in canonical form."""
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text or int(text) >= LANES:
        return None
    return int(text)


def _parts(subject: str, form: str, *, rest: bool = False) -> list[str]:
    """Split a subject that has the given form; with `rest` the last part may have several tokens.

    Raises:
        InvalidSubject: if the first token or the number of tokens differs.
    """
    count = form.count(".")
    parts = subject.split(".", count) if rest else subject.split(".")
    if len(parts) != count + 1 or parts[0] != form.partition(".")[0]:
        raise InvalidSubject(f"{subject!r} is not {form}")
    return parts


def _lane(lane: int) -> int:
    if not 0 <= lane < LANES:
        raise InvalidSubject(f"lane {lane} is out of range", remedy=f"use a lane from 0 to {LANES - 1}")
    return lane
