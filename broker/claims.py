"""NATS JWT claims, version 2: the contents of operator, account and user tokens, and how they are signed and
checked.

A token is `base64url(header).base64url(claims).base64url(signature)`, signed with an ed25519 nkey. Field names and the
omission of zero values follow nats-io/jwt v2, which is what nats-server reads. See
docs/decisions/0001-own-jwt-claims.md for why this is not a library.
"""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

import nacl.exceptions
import nkeys
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headway.broker.errors import BadIdentity
from headway.bus.wire.proof import b64, unb64, verify_key

NO_LIMIT: Final = -1
_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_VERSION: Final = 2
_SIGNERS: Final[dict[str, str]] = {"operator": "O", "account": "AO", "user": "A"}
"""First letters of the public keys that may sign each kind of claims."""


class _Claims(BaseModel):
    """Base of all claims. Defaults are Go's zero values, which are left out of the token."""

    model_config = ConfigDict(frozen=True)


class Permission(_Claims):
    """Subjects that may and may not be used. An empty `allow` allows all that are not denied."""

    allow: list[str] = []
    deny: list[str] = []


class ResponsePermission(_Claims):
    """The right to publish to the reply subject of a received message.

    Attributes:
        max: how many replies to one message.
        ttl: for how many nanoseconds.
    """

    max: int
    ttl: int


class Template(_Claims):
    """The rights of users of a scoped signing key; subjects may contain `{{tag(x)}}` and `{{subject()}}`."""

    pub: Permission = Permission()
    sub: Permission = Permission()
    resp: ResponsePermission | None = None
    subs: int = 0
    data: int = 0
    payload: int = 0
    bearer_token: bool = False
    allowed_connection_types: list[str] = []


class Scope(_Claims):
    """A signing key whose users all have the rights of its template."""

    kind: str = ""
    key: str
    role: str
    template: Template

    @classmethod
    def of(cls, key: str, role: str, template: Template) -> Self:
        """Return a scope in the form that the server expects."""
        return cls(kind="user_scope", key=key, role=role, template=template)


class Limits(_Claims):
    """Limits of an account; -1 is unlimited, 0 forbids."""

    subs: int = 0
    data: int = 0
    payload: int = 0
    imports: int = 0
    exports: int = 0
    wildcards: bool = False
    conn: int = 0
    leaf: int = 0
    mem_storage: int = 0
    disk_storage: int = 0
    streams: int = 0
    consumer: int = 0
    max_ack_pending: int = 0
    mem_max_stream_bytes: int = 0
    disk_max_stream_bytes: int = 0
    max_bytes_required: bool = False

    @classmethod
    def unlimited(cls, *, jetstream: bool) -> Self:
        """Return limits without any bound; JetStream storage only if asked for."""
        core = cls(wildcards=True, subs=-1, data=-1, payload=-1, imports=-1, exports=-1, conn=-1, leaf=-1)
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        return core.model_copy(update=storage) if jetstream else core


class WeightedMapping(_Claims):
    """One destination of a subject mapping.

    A weight of 0 cannot be expressed: Go leaves zeros out, and the server reads a missing weight as 100.
    """

    subject: str
    weight: int = Field(default=0, ge=0, le=100)
    cluster: str = ""


class Operator(_Claims):
    """The `nats` part of operator claims."""

    signing_keys: list[str] = []
    system_account: str = ""
    tags: list[str] = []
    type: str = ""
    version: int = 0


class Export(_Claims):
    """A subject that other accounts may import."""

    name: str = ""
    subject: str = ""
    type: Literal["stream", "service", ""] = ""
    response_type: str = ""
    account_token_position: int = 0
    description: str = ""
    info_url: str = ""


class Import(_Claims):
    """A subject of another account that is used like one of its own.

    Attributes:
        account: public key of the exporter.
        type: a stream's messages come from there as they are; what is asked of a service goes there, and its answer
            comes back to this account.
    """

    name: str = ""
    subject: str = ""
    account: str = ""
    type: Literal["stream", "service", ""] = ""


class Account(_Claims):
    """The `nats` part of account claims."""

    imports: list[Import] = []
    exports: list[Export] = []
    limits: Limits = Limits()
    signing_keys: list[str | Scope] = []
    revocations: dict[str, int] = {}
    """By public key of a user: its tokens issued up to that unix second are void."""
    mappings: dict[str, list[WeightedMapping]] = {}
    description: str = ""
    info_url: str = ""
    tags: list[str] = []
    type: str = ""
    version: int = 0


class User(_Claims):
    """The `nats` part of user claims. A scoped user has the permissions and limits of its key."""

    pub: Permission = Permission()
    sub: Permission = Permission()
    resp: ResponsePermission | None = None
    subs: int = 0
    data: int = 0
    payload: int = 0
    bearer_token: bool = False
    allowed_connection_types: list[str] = []
    issuer_account: str = ""
    tags: list[str] = []
    type: str = ""
    version: int = 0


Body = TypeVar("Body", Operator, Account, User)
_KINDS: Final[dict[type[BaseModel], str]] = {Operator: "operator", Account: "account", User: "user"}


class Claims(_Claims, Generic[Body]):
    """A whole token.

    Attributes:
        sub: public key of the subject.
        name: for people.
        nats: the claims.
        exp, nbf, iat: unix seconds; 0 is never.
        iss, jti: signer and id, set by `encode`.
    """

    aud: str = ""
    exp: int = 0
    jti: str = ""
    iat: int = 0
    iss: str = ""
    name: str = ""
    nbf: int = 0
    sub: str
    nats: Body


def encode(claims: Claims[Body], signer: nkeys.KeyPair, *, issued_at: int | None = None) -> str:
    """Sign claims and return the token.

    Args:
        claims: the content; `iss`, `iat` and `jti` are filled in.
        signer: the key pair of the operator, account or signing key.
        issued_at: unix seconds, now by default.

    Returns:
        the token. The same claims by the same signer at the same second give the same one.

    Raises:
        BadIdentity: if such a key may not sign such claims.
    """
    kind = _KINDS[type(claims.nats)]
    issuer = signer.public_key.decode()
    if issuer[0] not in _SIGNERS[kind]:
        raise BadIdentity(f"{kind} claims cannot be signed by the key {issuer}", remedy="sign with the parent's key")
    issued = claims.model_copy(
        update={
            "iss": issuer,
            "iat": int(time.time()) if issued_at is None else issued_at,
            "jti": "",
            "nats": claims.nats.model_copy(update={"type": kind, "version": _VERSION}),
        }
    )
    final = issued.model_copy(update={"jti": _digest(_json(issued))})
    signed = f"{b64(orjson.dumps(_HEADER))}.{b64(_json(final))}"
    return f"{signed}.{b64(signer.sign(signed.encode()))}"


def decode(token: str, body: type[Body]) -> Claims[Body]:
    """Read a token and check its signature. The caller decides whether to trust its issuer.

    Raises:
        BadIdentity: if it is not a token of this kind, or its signature does not match.
    """
    kind = _KINDS[body]
    try:
        header, claims, signature = token.strip().split(".")
        if orjson.loads(unb64(header)) != _HEADER:
            raise BadIdentity(f"not a NATS token of version {_VERSION}")
        model = cast("type[Claims[Body]]", Claims.__class_getitem__(body))
        found = model.model_validate_json(unb64(claims))
        verify_key(found.iss).verify(f"{header}.{claims}".encode(), unb64(signature))
    except (ValueError, ValidationError, nacl.exceptions.CryptoError) as error:
        raise BadIdentity(f"not a valid NATS token: {_first_line(error)}") from error
    if found.nats.type != kind or found.iss[0] not in _SIGNERS[kind]:
        raise BadIdentity(f"a token of type {found.nats.type!r} signed by {found.iss} is not one of {kind}")
    return found


def _digest(payload: bytes) -> str:
    # nats-io/jwt hashes the standard claims alone, so two different tokens of the same second share an id, and a
    # server that merges two stores would keep either one. This hash covers everything.
    return base64.b32encode(hashlib.new("sha512_256", payload).digest()).decode().rstrip("=")


def _json(claims: BaseModel) -> bytes:
    return orjson.dumps(claims.model_dump(exclude_defaults=True))


def _first_line(error: Exception) -> Any:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
