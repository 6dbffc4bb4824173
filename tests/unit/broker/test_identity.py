"""Identities: seeds stay where they are, credentials say what they should."""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import timedelta
from pathlib import Path

import pytest

from headway.broker import identity
from headway.broker.claims import User, decode
from headway.broker.errors import BadIdentity
from headway.broker.identity import KEY_FILE, SUM_FILE, Identities
from headway.broker.roles import ROLES
from headway.bus.errors import InvalidSubject, UsageError


def test_keys_are_made_once_and_found_again(tmp_path: Path) -> None:
    first = Identities.create_or_load(tmp_path / "deep" / "er")
    again = Identities.create_or_load(tmp_path / "deep" / "er")
    assert (first.operator, first.system, first.account) == (again.operator, again.system, again.account)


def test_every_file_with_a_seed_is_for_its_owner_alone(tmp_path: Path) -> None:
    identities = Identities.create_or_load(tmp_path)
    made = identities.creds_file("client", tenant="acme")
    assert made == tmp_path / "creds" / "client.acme.creds"
    for path in (tmp_path / KEY_FILE, made):
        assert path.stat().st_mode & 0o777 == 0o600
    assert made.parent.stat().st_mode & 0o777 == 0o700


def test_no_seed_or_token_is_in_a_repr_an_error_or_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    identities = Identities.create_or_load(tmp_path)
    made = identities.mint("client", tenant="acme")
    stored = (tmp_path / KEY_FILE).read_text()
    seeds = [part for part in stored.split('"') if part.startswith("S")]
    assert len(seeds) == 5 + len(ROLES)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / KEY_FILE).write_text(stored.replace(seeds[0], seeds[0][:-4]))
    (damaged / KEY_FILE).chmod(0o600)
    with pytest.raises(BadIdentity) as caught:
        Identities.create_or_load(damaged)
    said = f"{identities!r} {made!r} {caught.value!s} {caught.value.__cause__!r} {caplog.text}"
    assert not [secret for secret in [*seeds, seeds[0][:-4], made.seed, made.jwt] if secret in said]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Identities.create_or_load(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(BadIdentity, match="chmod 600"):
        Identities.create_or_load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"operator": 5}', "not json"])
def test_a_damaged_key_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / KEY_FILE
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadIdentity) as caught:
        Identities.create_or_load(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_carries_its_tags_and_no_rights_of_its_own() -> None:
    identities = Identities.create()
    made = identities.mint("client", tenant="acme", expires=timedelta(minutes=5))
    claims = decode(made.jwt, User)
    assert claims.sub == made.public_key
    assert claims.nats.tags == ["tenant:acme"]
    assert claims.nats.issuer_account == identities.clients
    assert claims.exp == pytest.approx(time.time() + 300, abs=3)
    rights = {"pub", "sub", "resp", "subs", "data", "payload", "bearer_token"}
    assert claims.nats.model_dump(include=rights) == User().model_dump(include=rights)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"role": "client"}, "needs a tenant"),
        ({"role": "worker"}, "needs a service"),
        ({"role": "operator", "tenant": "acme"}, "is not bound to a tenant"),
        ({"role": "worker", "service": "fax", "tenant": "acme"}, "is not bound to a tenant"),
        ({"role": "root"}, "there is no role 'root'"),
    ],
)
def test_a_role_takes_exactly_what_it_is_bound_to(arguments: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        Identities.create().mint(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("tenant", ["*", ">", "a.b", "", "acme "])
def test_a_tenant_that_would_widen_its_rights_is_refused(tenant: str) -> None:
    with pytest.raises(InvalidSubject):
        Identities.create().mint("client", tenant=tenant)


def accounts(tmp_path: Path, *names: str) -> None:
    """Data of the kind that a server keeps: a directory of streams for each account."""
    for name in names:
        (tmp_path / "nats" / "jetstream" / name / "streams" / "EVENTS").mkdir(parents=True)


def test_any_flipped_bit_of_the_key_file_is_noticed_and_never_makes_new_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_TORN", 0.0)
    first = Identities.create_or_load(tmp_path)
    content = (tmp_path / KEY_FILE).read_bytes()
    for at in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 7)
        (tmp_path / KEY_FILE).write_bytes(flipped)
        with pytest.raises(BadIdentity, match="damaged") as caught:
            Identities.create_or_load(tmp_path)
        assert "backup" in str(caught.value.remedy)
    (tmp_path / KEY_FILE).write_bytes(content)
    assert Identities.create_or_load(tmp_path).account == first.account


def test_without_a_checksum_a_flipped_bit_in_the_name_of_a_key_is_still_noticed(tmp_path: Path) -> None:
    Identities.create_or_load(tmp_path)
    (tmp_path / SUM_FILE).unlink()
    path = tmp_path / KEY_FILE
    path.write_text(path.read_text().replace('"clients"', '"clienps"'))
    with pytest.raises(BadIdentity, match="clienps"):
        Identities.create_or_load(tmp_path)


def test_the_checksum_of_an_older_installation_is_made_when_its_keys_are_first_used(tmp_path: Path) -> None:
    Identities.create_or_load(tmp_path)
    kept = (tmp_path / SUM_FILE).read_bytes()
    (tmp_path / SUM_FILE).unlink()
    Identities.create_or_load(tmp_path)
    assert (tmp_path / SUM_FILE).read_bytes() == kept
    assert kept.split()[0].decode() == hashlib.sha256((tmp_path / KEY_FILE).read_bytes()).hexdigest()


def test_beside_data_no_new_keys_are_made_when_the_file_is_gone(tmp_path: Path) -> None:
    first = Identities.create_or_load(tmp_path)
    accounts(tmp_path, first.account)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(BadIdentity, match="is gone") as caught:
        Identities.create_or_load(tmp_path)
    assert "backup" in str(caught.value.remedy)
    assert not (tmp_path / KEY_FILE).exists()


def test_beside_data_of_other_keys_it_is_refused(tmp_path: Path) -> None:
    Identities.create_or_load(tmp_path)
    accounts(tmp_path, Identities.create().account)
    with pytest.raises(BadIdentity, match="made with other keys"):
        Identities.create_or_load(tmp_path)


def test_a_server_that_was_started_but_never_stored_anything_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "nats" / "jetstream").mkdir(parents=True)
    assert Identities.create_or_load(tmp_path).account
