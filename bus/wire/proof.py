"""Proofs of the person a message is from: signed by the session endpoint, checked by the worker.

A page gets one with its session and sends it with each call; client sync makes one for each job that a page submits.
Both are compact JWTs (RFC 7519) with an ed25519 signature by the key that signs the pages' sessions.

    a call's proof    belongs to one session: its answer goes to that session's inbox, and it expires with it
    a job's proof     belongs to one payload of one operation: a job may wait for days, and be replayed
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import nacl.exceptions
import nacl.signing
import nkeys
import orjson

from headway.bus.errors import Reject

CALL: Final = "headway.call"
JOB: Final = "headway.job"
MAX: Final = 4096
"""Maximum characters of a proof."""
LEEWAY: Final = 30.0
"""Tolerated difference between the clocks of the session endpoint and a worker, in seconds."""
ISSUER_TAG: Final = "sessions:"
"""Prefix of the tag that names a trusted signer in a worker's token."""
_TOKEN: Final = re.compile(r"-----BEGIN NATS USER JWT-----\s+[\w-]+\.([\w-]+)\.")
_HEADER: Final = {"typ": "JWT", "alg": "EdDSA"}
_REMEDY: Final = "reload the page; if that does not help, compare the machines' clocks"


@dataclass(frozen=True, slots=True)
class User:
    """The person that a message is from, as the application's identity provider named them.

    Attributes:
        id: the application's name of the person.
        claims: further claims of their token, as chosen with `headway web --pass-claim`.
    """

    id: str
    claims: Mapping[str, Any] = field(default_factory=dict)


def for_session(
    user: User, tenant: str, session: str, expires: int, issuer: str, sign: Callable[[bytes], bytes]
) -> str:
    """Return the proof that a page sends with its calls.

    Args:
        user: the person.
        tenant: the person's tenant.
        session: public key of the session.
        expires: unix second until which it is valid.
        issuer: public key of the signer.
        sign: signs with its key.
    """
    said = {"iss": issuer, "aud": CALL, "sub": user.id, "tenant": tenant, "key": session, "exp": expires}
    return _encode({**said, "claims": user.claims}, sign)


def for_job(user: User, tenant: str, place: str, payload: bytes, issuer: str, sign: Callable[[bytes], bytes]) -> str:
    """Return the proof of a job.

    Args:
        user: the person who submitted it.
        tenant: the person's tenant.
        place: service and operation, as `fax.send`.
        payload: of the job.
        issuer: public key of the signer.
        sign: signs with its key.
    """
    said = {"iss": issuer, "aud": JOB, "sub": user.id, "tenant": tenant, "place": place, "sha256": _digest(payload)}
    return _encode({**said, "claims": user.claims}, sign)


def of_call(proof: str, trusted: frozenset[str], tenant: str, reply: str, now: float) -> User:
    """Return the person that a call is from.

    Args:
        proof: the header.
        trusted: public keys that sign sessions.
        tenant: the call's tenant.
        reply: the call's reply subject.
        now: unix seconds.

    Raises:
        Reject: if it proves nothing.
    """
    said = _decode(proof, trusted, CALL, tenant)
    if not reply.startswith(f"_INBOX.{said.get('key')}."):
        raise _refused("it belongs to another session")
    expires = said.get("exp")
    if not isinstance(expires, int) or expires + LEEWAY < now:
        raise _refused("it has expired")
    return _user(said)


def of_job(proof: str, trusted: frozenset[str], tenant: str, place: str, payload: bytes) -> User:
    """Return the person who submitted a job; raise as `of_call`.

    Args:
        proof: the header.
        trusted: public keys that sign sessions.
        tenant: the job's tenant.
        place: service and operation, as `fax.send`.
        payload: of the job.
    """
    said = _decode(proof, trusted, JOB, tenant)
    if said.get("place") != place or said.get("sha256") != _digest(payload):
        raise _refused("it belongs to another job")
    return _user(said)


def issuers(creds: str) -> frozenset[str]:
    """Return the public keys that sign sessions, which are tags of a worker's own token.

    Args:
        creds: text of its credentials, which its operator has made.
    """
    found = _TOKEN.search(creds)
    try:
        tags = orjson.loads(unb64(found[1]))["nats"]["tags"] if found else []
        return frozenset(tag.removeprefix(ISSUER_TAG) for tag in tags if tag.startswith(ISSUER_TAG))
    except (ValueError, KeyError, TypeError, AttributeError):
        return frozenset()


def verify_key(public: str) -> nacl.signing.VerifyKey:
    """Return the key that checks signatures of a public nkey.

    Raises:
        ValueError: if it is none.
    """
    try:
        raw = base64.b32decode(public + "=" * (-len(public) % 8))
    except binascii.Error as error:
        raise ValueError("the issuer is not a public key") from error
    if len(raw) != 35 or nkeys.crc16(bytearray(raw[:-2])).to_bytes(2, "little") != raw[-2:]:
        raise ValueError("the issuer is not a public key")
    return nacl.signing.VerifyKey(raw[1:33])


def b64(data: bytes) -> str:
    """Return data as base64url without padding, as tokens hold it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """Return the data of base64url without padding.

    Raises:
        ValueError: if it is none.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _encode(said: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    signed = f"{b64(orjson.dumps(_HEADER))}.{b64(orjson.dumps(said))}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def _decode(proof: str, trusted: frozenset[str], audience: str, tenant: str) -> Mapping[str, Any]:
    if len(proof) > MAX:
        raise _refused("it is too long")
    try:
        header, body, signature = proof.split(".")
        algorithm = orjson.loads(unb64(header))
        said: dict[str, Any] = orjson.loads(unb64(body))
        issuer = said["iss"]
        verify_key(issuer).verify(f"{header}.{body}".encode(), unb64(signature))
    except (ValueError, TypeError, KeyError, nacl.exceptions.CryptoError) as error:
        raise _refused("it is not signed") from error
    if algorithm != _HEADER or issuer not in trusted:
        raise _refused("it is not signed by this installation")
    if said.get("aud") != audience or said.get("tenant") != tenant:
        raise _refused("it belongs to something else")
    return said


def _user(said: Mapping[str, Any]) -> User:
    id_, claims = said.get("sub"), said.get("claims")
    if not isinstance(id_, str) or not isinstance(claims, dict):
        raise _refused("it is incomplete")
    if not id_:
        raise Reject("the page did not say who its user is", remedy="reload the page")
    return User(id_, claims)


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _refused(why: str) -> Reject:
    return Reject(f"the proof of the message's user is not valid: {why}", remedy=_REMEDY)
