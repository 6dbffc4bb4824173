"""Certificates of the routes: who has signed them, for whom they are, and when they are made anew."""

from datetime import UTC, datetime, timedelta

import pytest

from headway.broker.certificates import RENEW_BEFORE, SERVER_LIFE, Authority
from headway.broker.errors import BadIdentity

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path):
    return Authority.create_or_load(tmp_path / "tls")


def test_an_authority_is_made_once(tmp_path, authority):
    assert Authority.create_or_load(tmp_path / "tls").pem == authority.pem


def test_its_key_is_for_its_owner_alone(tmp_path, authority):
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o077 == 0


def test_it_knows_the_certificates_it_has_issued(authority):
    cert, _ = authority.issue("nats-1")
    assert authority.holds(cert, "nats-1", NOW)
    assert not authority.holds(cert, "nats-2", NOW), "it is for another server"


def test_it_does_not_know_those_of_another_one(tmp_path, authority):
    stranger = Authority.create_or_load(tmp_path / "other")
    assert not authority.holds(stranger.issue("nats-1")[0], "nats-1", NOW)
    assert not authority.holds(b"no certificate", "nats-1", NOW)


def test_a_certificate_is_renewed_long_before_it_ends(authority):
    cert, _ = authority.issue("nats-1")
    late = SERVER_LIFE - RENEW_BEFORE
    assert authority.holds(cert, "nats-1", NOW + late - timedelta(days=1))
    assert not authority.holds(cert, "nats-1", NOW + late + timedelta(days=1))


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_a_damaged_authority_is_refused(tmp_path, authority, name):
    (tmp_path / "tls" / name).write_bytes(b"damaged")
    with pytest.raises(BadIdentity, match="certificate authority"):
        Authority.create_or_load(tmp_path / "tls")


def test_a_key_that_is_not_the_certificates_is_refused(tmp_path, authority):
    Authority.create_or_load(tmp_path / "other")
    (tmp_path / "other" / "ca.key").replace(tmp_path / "tls" / "ca.key")
    with pytest.raises(BadIdentity, match="is not the key"):
        Authority.create_or_load(tmp_path / "tls")
