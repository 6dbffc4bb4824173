"""Claims: what is encoded is what is decoded, and nothing that was changed afterwards is believed."""

from __future__ import annotations

import base64

import nkeys
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.broker.claims import (
    Account,
    Claims,
    Limits,
    Operator,
    Permission,
    Scope,
    Template,
    User,
    WeightedMapping,
    decode,
    encode,
)
from headway.broker.errors import BadIdentity


def key(prefix: int, fill: int = 7) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(bytes([fill]) * 32, prefix))


OPERATOR = key(nkeys.PREFIX_BYTE_OPERATOR)
ACCOUNT = key(nkeys.PREFIX_BYTE_ACCOUNT)
USER = key(nkeys.PREFIX_BYTE_USER)

numbers = st.integers(min_value=-1, max_value=1 << 53)
texts = st.text(max_size=20)
permissions = st.builds(Permission, allow=st.lists(texts, max_size=3), deny=st.lists(texts, max_size=3))
templates = st.builds(Template, pub=permissions, sub=permissions, subs=numbers, data=numbers, payload=numbers)
scopes = st.builds(Scope.of, key=texts, role=texts, template=templates)
targets = st.builds(WeightedMapping, subject=texts, weight=st.integers(1, 100), cluster=texts)
accounts = st.builds(
    Account,
    limits=st.builds(Limits, subs=numbers, conn=numbers, disk_storage=numbers, wildcards=st.booleans()),
    signing_keys=st.lists(st.one_of(texts, scopes), max_size=3),
    mappings=st.dictionaries(texts, st.lists(targets, max_size=3), max_size=3),
)
users = st.builds(User, pub=permissions, issuer_account=texts, tags=st.lists(texts, max_size=3))


def parts(token: str) -> list[dict[str, object]]:
    return [orjson.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


@given(accounts, texts, st.integers(0, 1 << 40))
def test_account_claims_come_back_as_they_were(body: Account, name: str, expires: int) -> None:
    claims = Claims(sub=ACCOUNT.public_key.decode(), name=name, exp=expires, nats=body)
    found = decode(encode(claims, OPERATOR), Account)
    assert (found.sub, found.name, found.exp, found.iss) == (claims.sub, name, expires, OPERATOR.public_key.decode())
    assert found.nats == body.model_copy(update={"type": "account", "version": 2})


@given(users, texts)
def test_user_claims_come_back_as_they_were(body: User, name: str) -> None:
    found = decode(encode(Claims(sub=USER.public_key.decode(), name=name, nats=body), ACCOUNT), User)
    assert found.nats == body.model_copy(update={"type": "user", "version": 2})


@given(accounts, accounts)
def test_the_id_is_the_same_for_the_same_claims_and_another_for_others(one: Account, other: Account) -> None:
    def id_of(body: Account) -> str:
        token = encode(Claims(sub=ACCOUNT.public_key.decode(), nats=body), OPERATOR, issued_at=1_700_000_000)
        return decode(token, Account).jti

    assert id_of(one) == id_of(one.model_copy())
    assert (id_of(one) == id_of(other)) == (one == other)


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    token = encode(Claims(sub=USER.public_key.decode(), nats=User(tags=["tenant:acme"])), ACCOUNT, issued_at=1)
    at = data.draw(st.integers(0, len(token) - 2))  # the last one carries padding bits that say nothing
    other = data.draw(st.sampled_from("ABCDEFGHabcdefgh0123456789-_").filter(lambda c: c != token[at]))
    with pytest.raises(BadIdentity):
        decode(token[:at] + other + token[at + 1 :], User)


def test_a_token_is_written_as_nats_io_jwt_writes_it() -> None:
    """Names, nesting and left-out zeros follow github.com/nats-io/jwt/v2; the real server is asked in integration."""
    scope = Scope.of("AKEY", "worker", Template(pub=Permission(allow=["a.>"]), subs=-1, data=-1, payload=-1))
    body = Account(
        limits=Limits.unlimited(jetstream=True),
        signing_keys=["APLAIN", scope],
        mappings={"a.*": [WeightedMapping(subject="b.{{wildcard(1)}}", weight=100)]},
    )
    header, claims = parts(encode(Claims(sub=ACCOUNT.public_key.decode(), nats=body), OPERATOR, issued_at=5))
    assert header == {"typ": "JWT", "alg": "ed25519-nkey"}
    assert claims.pop("jti")
    assert claims == {
        "iat": 5,
        "iss": OPERATOR.public_key.decode(),
        "sub": ACCOUNT.public_key.decode(),
        "nats": {
            "limits": {
                **dict.fromkeys(["subs", "data", "payload", "imports", "exports", "conn", "leaf"], -1),
                **dict.fromkeys(["mem_storage", "disk_storage", "streams", "consumer"], -1),
                "wildcards": True,
            },
            "signing_keys": [
                "APLAIN",
                {
                    "kind": "user_scope",
                    "key": "AKEY",
                    "role": "worker",
                    "template": {"pub": {"allow": ["a.>"]}, "subs": -1, "data": -1, "payload": -1},
                },
            ],
            "mappings": {"a.*": [{"subject": "b.{{wildcard(1)}}", "weight": 100}]},
            "type": "account",
            "version": 2,
        },
    }


@pytest.mark.parametrize(
    ("claims", "signer"),
    [
        (Claims(sub="O", nats=Operator()), ACCOUNT),
        (Claims(sub="A", nats=Account()), USER),
        (Claims(sub="U", nats=User()), OPERATOR),
    ],
)
def test_a_key_of_the_wrong_kind_cannot_sign(claims: Claims[Account], signer: nkeys.KeyPair) -> None:
    with pytest.raises(BadIdentity, match="cannot be signed"):
        encode(claims, signer)


def test_a_token_of_another_kind_is_refused() -> None:
    token = encode(Claims(sub="U", nats=User()), ACCOUNT)
    with pytest.raises(BadIdentity, match="type 'user'"):
        decode(token, Account)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "..", "é.é.é", "eyJ9.eyJ9.eyJ9"])
def test_what_is_no_token_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadIdentity) as caught:
        decode(text, User)
    assert "\n" not in str(caught.value)
