"""Credentials that nobody made: tokens that are changed, exchanged, signed by somebody else, or out of date."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import nkeys
import orjson
import pytest

from headway.broker.broker import Broker
from headway.broker.claims import Account, Claims, Limits, Permission, User, decode, encode
from headway.broker.identity import Credentials
from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts
from tests.attacks.test_subjects import BOUND

ROLES: dict[str, dict[str, str]] = {**BOUND, "control": {}, "operator": {}}


def key(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(secrets.token_bytes(32), prefix))


def changed(jwt: str, **claims: Any) -> str:
    """Return a token with other claims and the old signature."""
    head, body, signature = jwt.split(".")
    found = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    nats = {**found["nats"], **claims.pop("nats", {})}
    made = base64.urlsafe_b64encode(orjson.dumps({**found, **claims, "nats": nats})).decode().rstrip("=")
    return f"{head}.{made}.{signature}"


def unsigned(jwt: str, algorithm: str) -> str:
    """Return a token that claims to need no signature, or another kind of it."""
    _, body, _ = jwt.split(".")
    head = base64.urlsafe_b64encode(orjson.dumps({"typ": "JWT", "alg": algorithm})).decode().rstrip("=")
    return f"{head}.{body}."


@pytest.mark.parametrize("role", ROLES)
async def test_a_token_that_is_changed_opens_nothing(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts, role: Any
) -> None:
    made = nats_broker.identities.mint(role, **ROLES[role])
    operator = nats_broker.identities.mint("operator")
    identities = nats_broker.identities
    forged = {
        "other tags": changed(made.jwt, nats={"tags": ["service:voicemail", "tenant:globex"]}),
        "another account": changed(made.jwt, nats={"issuer_account": identities.system}),
        "the system account": changed(made.jwt, nats={"issuer_account": identities.operator}),
        "rights of its own": changed(made.jwt, nats={"pub": {"allow": [">"]}, "sub": {"allow": [">"]}}),
        "without a key": changed(made.jwt, nats={"bearer_token": not bool(role in {"browser", "console"})}),
        "another signer": changed(made.jwt, iss=identities.role_key("web" if role == "operator" else "operator")),
        "the operator as signer": changed(made.jwt, iss=identities.operator),
        "another user": changed(made.jwt, sub=operator.public_key),
        "never expires": changed(made.jwt, exp=0, iat=1),
        "no signature": unsigned(made.jwt, "none"),
        "a symmetric signature": unsigned(made.jwt, "HS256"),
        "half a signature": made.jwt[:-20],
        "no token": "",
        "rubbish": "a.b.c",
    }
    for what, jwt in forged.items():
        attempts.judge(what, refused=not await attack_as.gets_in(replace(made, jwt=jwt)))


@pytest.mark.parametrize("role", ROLES)
async def test_a_token_of_ones_own_making_opens_nothing(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts, role: Any
) -> None:
    identities = nats_broker.identities
    made = identities.mint(role, **ROLES[role])
    claims = decode(made.jwt, User)
    mine = key(nkeys.PREFIX_BYTE_ACCOUNT)
    everything = Permission(allow=[">"])
    for account in (identities.account, identities.clients, identities.system, mine.public_key.decode()):
        for rights in (claims.nats, User(pub=everything, sub=everything, subs=-1, data=-1, payload=-1)):
            body = rights.model_copy(update={"issuer_account": account})
            jwt = encode(claims.model_copy(update={"nats": body}), mine)
            refused = not await attack_as.gets_in(replace(made, jwt=jwt))
            attempts.judge(f"signed by itself for {account}", refused=refused)


@pytest.mark.parametrize("role", ROLES)
async def test_a_token_needs_its_own_key(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts, role: Any
) -> None:
    made = nats_broker.identities.mint(role, **ROLES[role])
    for other, bound in ROLES.items():
        stranger = nats_broker.identities.mint(other, **bound)  # type: ignore[arg-type]
        refused = not await attack_as.gets_in(replace(made, seed=stranger.seed))
        # A bearer token opens without any key: what it allows is little, and it ends within minutes.
        if role not in {"browser", "console"}:
            attempts.judge(f"with the key of a user in the role {other}", refused=refused)
    late = nats_broker.identities.mint(role, **ROLES[role], expires=timedelta(seconds=-5))
    attempts.judge("expired", refused=not await attack_as.gets_in(late))


async def test_an_account_of_ones_own_making_is_not_taken(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts
) -> None:
    account, operator, user = (
        key(nkeys.PREFIX_BYTE_ACCOUNT),
        key(nkeys.PREFIX_BYTE_OPERATOR),
        key(nkeys.PREFIX_BYTE_USER),
    )
    body = Account(limits=Limits.unlimited(jetstream=True))
    token = encode(Claims(sub=account.public_key.decode(), name="mine", nats=body), operator)
    for role in BOUND:
        async with attack_as(role, **BOUND[role]) as attacker:  # type: ignore[arg-type]
            for subject in ("$SYS.REQ.CLAIMS.UPDATE", f"$SYS.REQ.ACCOUNT.{account.public_key.decode()}.CLAIMS.UPDATE"):
                attempts.judge(f"{role} {subject}", refused=not await attacker.may_publish(subject, token.encode()))
    claims = Claims(sub=user.public_key.decode(), name="mine", nats=User(subs=-1, data=-1, payload=-1))
    made = Credentials(user.public_key.decode(), encode(claims, account), user.seed.decode())
    attempts.judge("a user of it", refused=not await attack_as.gets_in(made))


async def test_nobody_gets_in_without_credentials(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts
) -> None:
    made = nats_broker.identities.mint("operator")
    for options in (
        {"user": "admin", "password": "admin"},
        {"token": made.jwt},
        {"token": "secret"},
        {"user": made.public_key, "password": made.jwt},
        {"name": "nobody"},
    ):
        attempts.judge(str(list(options)), refused=not await attack_as.gets_in(made, **options))
