"""Roles: what each kind of program may do, as templates of scoped signing keys that nats-server enforces.

`{{tag(tenant)}}`, `{{tag(service)}}` and `{{subject()}}` are filled in by the server from the user's token, so
one signing key serves all tenants, and a stolen token gives no more than its user had. A subject whose tag is missing
is dropped from the list, and an emptied list denies everything. docs/reference/roles.md is the table for people.

Publish permission is checked on the subject *after* the account's mapping, and on the plain one while no mapping
exists, so both forms are allowed. They differ in their number of tokens and cannot be mistaken for each other.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from headway.broker.claims import NO_LIMIT, Permission, Template
from headway.bus.wire.subjects import CONSOLE

Role = Literal["worker", "client", "browser", "web", "control", "console", "operator", "records"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

TAGS: Final[dict[Role, str]] = {"worker": "service", "client": "tenant", "browser": "tenant"}
"""What a user of the role is bound to."""

OUTSIDE: Final[frozenset[Role]] = frozenset({"client"})
"""Roles whose users are in the clients' account."""
INSIDE: Final[frozenset[Role]] = frozenset({"records", "console"})
"""Roles whose users are in control's account; those that are in neither set are in the application account."""
WITH_RECORDS: Final[frozenset[Role]] = frozenset({"control", "operator"})
"""Roles whose credentials contain a second user, in the role `records`: they also reach control's account."""

PROBE: Final = "headway-probe"
"""A tenant whose requests no worker serves: probes of it show where a split leads."""

_TENANT: Final = "{{tag(tenant)}}"
_SERVICE: Final = "{{tag(service)}}"
_SEAL: Final = "{{tag(seal)}}"
"""A part of subjects that only workers of the service and control know. JetStream answers wherever its asker wants,
also to subjects of another service, but the asker has to name them. So no role may list the stream's subjects.
"""
_INBOX: Final = "_INBOX.{{subject()}}.>"
"""Replies to this user only: `bus.connect` sets its inbox prefix to the user's public key."""
_ANY_INBOX: Final = "_INBOX.>"

_BROWSER_SUBSCRIPTIONS: Final = 64
_CLIENT_SUBSCRIPTIONS: Final = 256
"""Of one connection. Some NATS clients subscribe anew for each request."""
_WORKER_SUBSCRIPTIONS: Final = 4096
"""Of one connection: two for each operation, and a few more."""
_BROWSER_PAYLOAD: Final = 64 * 1024
_WEBSOCKET_ALONE: Final = ["WEBSOCKET"]
"""For bearer tokens: the websocket listener is the one that checks where a page comes from."""


def _consuming(stream: str) -> list[str]:
    """Return the subjects for pulling from the consumers of a stream and acknowledging. Control makes consumers."""
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.ACK.{stream}.>",
        f"$JS.ACK.*.*.{stream}.>",  # ADR-15's form with domain and account
    ]


_BLOBS: Final = [
    "$O.BLOBS.>",
    "$JS.API.STREAM.INFO.OBJ_BLOBS",
    "$JS.API.STREAM.MSG.GET.OBJ_BLOBS",
    "$JS.API.STREAM.PURGE.OBJ_BLOBS",
    "$JS.API.DIRECT.GET.OBJ_BLOBS",
    "$JS.API.DIRECT.GET.OBJ_BLOBS.>",
]


def _template(
    pub: list[str], sub: list[str], *, never: list[str] | None = None, subscriptions: int = NO_LIMIT
) -> Template:
    return Template(
        pub=Permission(allow=pub, deny=never or []),
        sub=Permission(allow=sub),
        subs=subscriptions,
        data=NO_LIMIT,
        payload=NO_LIMIT,
    )


_WORKER: Final = _template(
    pub=[
        # A worker calls other services for whichever tenant it is serving: plain subjects, and as mapped.
        *("rpc.*.*.*", "rpc.*.*.*.*", "job.*.*.*", "job.*.*.*.*.*", "later.*.*.*", "event.*.>"),
        "obj.*.*.*",
        f"dead.{_SERVICE}.*.*",
        f"beat.{_SERVICE}.*.*",
        f"$KV.ATTEMPTS.{_SERVICE}.{_SEAL}.>",
        f"$JS.API.DIRECT.GET.KV_ATTEMPTS.$KV.ATTEMPTS.{_SERVICE}.{_SEAL}.>",
        "$JS.API.STREAM.INFO.OBJECTS",
        "$JS.API.STREAM.MSG.GET.OBJECTS",
        "$JS.API.DIRECT.GET.OBJECTS",
        "$JS.API.DIRECT.GET.OBJECTS.>",
        f"queues.{_SERVICE}.*",
        *_consuming(f"JOBS_{_SERVICE}"),
        *_consuming("EVENTS"),
        *_BLOBS,
        # Not `allow_responses`: the server then records every delivery with a reply subject, which all jobs have, and
        # searches the records again and again once they are more than 4,096 (client.go, pruneReplyPerms).
        _ANY_INBOX,
    ],
    sub=[
        _INBOX,
        f"rpc.{_SERVICE}.*.*.*",
        f"direct.{_SERVICE}.*.*.*",
        "$SRV.*",
        f"$SRV.*.{_SERVICE}",
        f"$SRV.*.{_SERVICE}.*",
    ],
    never=[f"obj.{CONSOLE}.>"],  # services may not write what the operator's console shows
    subscriptions=_WORKER_SUBSCRIPTIONS,
)

# In the clients' account calls are mapped, and jobs are not: those go to the application account on the plain subject.
_CLIENT: Final = _template(
    pub=[
        f"rpc.*.{_TENANT}.*",
        f"rpc.*.*.{_TENANT}.*",
        f"job.*.{_TENANT}.*",
        f"later.*.{_TENANT}.*",
        f"event.{_TENANT}.>",
    ],
    sub=[_INBOX],
    subscriptions=_CLIENT_SUBSCRIPTIONS,
)

_BROWSER: Final = Template(
    # Calls, plain and as mapped, but no `job.`: the server acknowledges a stored job to whatever reply subject its
    # publisher names, without checking the publisher's rights, so a page could make it write into another tenant's
    # objects, which are in the same account. Instead, client sync accepts a page's jobs and submits them. Workers
    # check the reply subject of calls themselves (bus/worker/rpc.py).
    pub=Permission(
        allow=[f"sync.{_TENANT}.pull", f"sync.{_TENANT}.submit.*.*", f"rpc.*.{_TENANT}.*", f"rpc.*.*.{_TENANT}.*"]
    ),
    sub=Permission(allow=[f"live.{_TENANT}.>", _INBOX]),
    subs=_BROWSER_SUBSCRIPTIONS,
    data=NO_LIMIT,
    payload=_BROWSER_PAYLOAD,
    bearer_token=True,  # a page holds no key to sign the server's nonce with
    allowed_connection_types=_WEBSOCKET_ALONE,
)

_WEB: Final = _template(
    pub=[
        "$JS.API.DIRECT.GET.OBJECTS",
        "$JS.API.DIRECT.GET.OBJECTS.>",
        "$JS.API.STREAM.INFO.OBJECTS",
        "$JS.API.STREAM.MSG.GET.OBJECTS",
        "job.*.*.*",
        "job.*.*.*.*.*",
        "live.*.conflict",
        "live.*.head",
        "live.*.presence",
        _ANY_INBOX,
    ],
    sub=[_INBOX, "sync.*.pull", "sync.*.submit.*.*"],
)

_CONTROL: Final = _template(
    pub=[
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.FC.>",
        "$KV.>",
        "$SRV.>",
        "dead.>",
        _ANY_INBOX,
        # The deployer calls a version's workers before they have traffic, moves jobs from one version to another, and
        # measures a split by probes that no worker subscribes to. The scheduler submits jobs that are due, and an
        # unrouted service must answer that it is not served.
        "direct.*.*.*.*",
        "rpc.*.*.*.*",  # of probes, as mapped
        "job.*.*.*",
        "job.*.*.*.*.*",
        f"rpc.*.{PROBE}.*",
    ],
    sub=[_INBOX, "beat.>", "queues.*.*", "$SRV.>", "$KV.>", "$JS.EVENT.>", f"rpc.*.*.{PROBE}.*"],
)

# The operator's console only reads. Its requests for changes go over HTTP, with the person's own token.
_CONSOLE: Final = Template(
    pub=Permission(allow=[f"sync.{CONSOLE}.pull"]),
    sub=Permission(allow=[f"live.{CONSOLE}.>", _INBOX]),
    subs=_BROWSER_SUBSCRIPTIONS,
    data=NO_LIMIT,
    payload=_BROWSER_PAYLOAD,
    bearer_token=True,
    allowed_connection_types=_WEBSOCKET_ALONE,
)

_EVERYTHING: Final = _template(pub=[], sub=[])

TEMPLATES: Final[dict[Role, Template]] = {
    "worker": _WORKER,
    "client": _CLIENT,
    "browser": _BROWSER,
    "web": _WEB,
    "control": _CONTROL,
    "console": _CONSOLE,
    "operator": _EVERYTHING,
    "records": _EVERYTHING,
}
"""The permissions of each role's signing key. An operator has the whole application account, without bounds; `records`
has the whole account of control, which nothing leads to."""
